"""Part 10 files on disk: put under their final name durably, found again by it."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from dicom_node.archive.header import InstanceHeader
from dicom_node.receive.refusal import Refused, StoreStatus

log = logging.getLogger(__name__)


class InstanceStore:
    """Owns the folder of instances (study/series/instance by UID) and the folder in which they arrive.

    Both must be on one file system: a file becomes visible by a rename.
    """

    def __init__(self, folder: Path, incoming: Path) -> None:
        self.folder = folder
        self._incoming = incoming
        folder.mkdir(parents=True, exist_ok=True)
        incoming.mkdir(parents=True, exist_ok=True)

    def keep(self, path: Path, header: InstanceHeader) -> tuple[str, int]:
        """Move the file at ``path`` to its place and make it durable.

        Returns its path relative to the folder, and its size in bytes. An instance that was there already is
        replaced in one step.

        Raises:
            Refused: the disk is full, read-only or broken (0xA700).
        """
        relative = Path(header.study_instance_uid, header.series_instance_uid, f"{header.sop_instance_uid}.dcm")
        target = self.folder / relative
        try:
            with path.open("rb") as file:
                os.fsync(file.fileno())
                size = os.fstat(file.fileno()).st_size
            _make_durable_folder(target.parent)
            path.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise Refused(StoreStatus.OUT_OF_RESOURCES, f"store cannot be written: {error.strerror}") from error
        return str(relative), size

    def sweep(self, older_than_seconds: float = 0.0) -> int:
        """Remove what broken associations left in the incoming folder; returns how many files went."""
        removed = 0
        horizon = time.time() - older_than_seconds
        for path in self._incoming.iterdir():
            if path.is_file() and path.stat().st_mtime <= horizon:
                path.unlink(missing_ok=True)
                removed += 1
        if removed:
            log.info("removed %d unfinished files from %s", removed, self._incoming)
        return removed


def _make_durable_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_durable_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    _sync_folder(folder.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
