"""How much room the data folder's disk has, held against what the node keeps free."""

from __future__ import annotations

import shutil
from dataclasses import dataclass

from dicom_node.config import Config

_SCARCE = 1.5


@dataclass(frozen=True, slots=True)
class DiskSpace:
    """Free space and the least of it at which images are still taken, both in MiB."""

    free_megabytes: int
    needed_megabytes: int

    @property
    def is_short(self) -> bool:
        """Whether images are refused."""
        return self.free_megabytes < self.needed_megabytes

    @property
    def is_scarce(self) -> bool:
        """Whether images soon will be refused, so that studies are removed before their time."""
        return self.free_megabytes < _SCARCE * self.needed_megabytes


def disk_space(config: Config) -> DiskSpace:
    """Measure the disk of the data folder.

    What is needed is the larger of ``receive.minimum_free_megabytes`` and what ``receive.maximum_disk_percent`` leaves
    of the disk, which counts like ``df`` without the blocks that the file system reserves.

    Raises:
        OSError: the data folder is not there.
    """
    usage = shutil.disk_usage(config.node.data_folder)
    settings = config.receive
    left = (usage.used + usage.free) * (100 - settings.maximum_disk_percent) // 100
    return DiskSpace(usage.free >> 20, max(settings.minimum_free_megabytes, left >> 20))
