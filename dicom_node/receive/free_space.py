"""Whether there is room for an object: asked for each, before it is kept."""

from __future__ import annotations

from dicom_node.config import Config
from dicom_node.disk import disk_space
from dicom_node.receive.refusal import Reason, Refused


def check_free_space(config: Config) -> None:
    """Refuse to take more while the disk is short.

    Raises:
        Refused: less is free than must stay free, or the data folder is gone (0xA700).
    """
    try:
        disk = disk_space(config)
    except OSError as error:
        raise Refused(Reason.STORE_FAILED, f"the data folder is gone: {error.strerror}") from error
    if disk.is_short:
        raise Refused(
            Reason.DISK_FULL,
            f"disk almost full: {disk.free_megabytes} MB free, {disk.needed_megabytes} MB needed",
        )
