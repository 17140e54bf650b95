"""Instances in a bucket: the object first, then its row, and only then is it acknowledged."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from dicom_node.archive.header import InstanceHeader
from dicom_node.archive.store import InstanceStore, cannot_be_written, relative_path
from dicom_node.cached_files import InBucket


class BucketStore(InstanceStore):
    """The store where the folder of instances is a cache of a bucket."""

    def __init__(self, folder: Path, incoming: Path, files: InBucket) -> None:
        super().__init__(folder, incoming)
        self._files = files

    def keep(self, path: Path, header: InstanceHeader) -> tuple[str, int]:
        """Put the file at ``path`` into the bucket, and then into its place here.

        Returns its path relative to the folder, and its size in bytes. An instance that was there already stays as it
        is, under another name, until its row names this one.

        Raises:
            Refused: the bucket or the disk is full, away or broken (0xA700).
        """
        try:
            size = path.stat().st_size
            kept = self._files.add(path, self.folder / relative_path(header))
        except OSError as error:
            raise cannot_be_written(error) from error
        return str(kept.relative_to(self.folder)), size

    def discard(self, relative: str) -> None:
        """Remove an instance that was kept and cannot be indexed, here and in the bucket."""
        super().discard(relative)
        with suppress(OSError):  # retention finds it
            self._files.remove([self.folder / relative])
