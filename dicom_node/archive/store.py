"""Part 10 files on disk: put under their final name durably, found again by it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from pathlib import Path

from dicom_node.archive.header import InstanceHeader
from dicom_node.receive.refusal import Reason, Refused

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
        replaced in one step. A crash meanwhile may leave an instance cut short that nothing refers to.

        Raises:
            Refused: the disk is full, read-only or broken (0xA700).
        """
        relative = relative_path(header)
        target = self.folder / relative
        try:
            _make_durable_folder(target.parent)
            with path.open("rb", buffering=0) as file:
                size = os.fstat(file.fileno()).st_size
                linked = _link(path, target)
                os.fsync(file.fileno())
            if not linked:
                path.replace(target)
            _sync_folder(target.parent)
        except OSError as error:
            raise cannot_be_written(error) from error
        return str(relative), size

    def discard(self, relative: str) -> None:
        """Remove an instance that was kept and cannot be indexed, and the folders that were made for it."""
        path = self.folder / relative
        path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # other instances are in it
            path.parent.rmdir()
            path.parent.parent.rmdir()

    def sweep(self, older_than_seconds: float = 0.0) -> int:
        """Remove what broken associations left in the incoming folder; returns how many files went.

        Files of another receiver process that runs, or may run on another host, are left to it until they are old.
        """
        removed = 0
        horizon = time.time() - older_than_seconds
        fresh_too = older_than_seconds == 0.0
        for path in self._incoming.iterdir():
            if path.is_file() and path.stat().st_mtime <= horizon and not (fresh_too and _has_owner(path)):
                path.unlink(missing_ok=True)
                removed += 1
        if removed:
            log.info("removed %d unfinished files from %s", removed, self._incoming)
        return removed


def relative_path(header: InstanceHeader) -> Path:
    """Where an instance lies in the folder of a store."""
    return Path(header.study_instance_uid, header.series_instance_uid, f"{header.sop_instance_uid}.dcm")


def cannot_be_written(error: OSError) -> Refused:
    """What the sender is told when an instance cannot be kept."""
    return Refused(Reason.STORE_FAILED, f"store cannot be written: {error.strerror}")


def _has_owner(path: Path) -> bool:
    """Whether another process may still write the file; ``receive/incoming.py`` names files by host and process.

    Where hosts share the folder, nobody here can tell what runs on the others.
    """
    host, _, process = path.stem.rpartition("-")[0].rpartition("-")
    if not process.isdecimal():
        return False
    if host != socket.gethostname():
        return True
    if int(process) == os.getpid():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _link(path: Path, target: Path) -> bool:
    """Give a new file its final name before it is synced, so that one commit of the journal makes both durable.

    A name that is taken is left alone: what it holds was acknowledged, and may only give way to a durable file.
    """
    try:
        os.link(path, target)
    except OSError:  # taken, or a file system without links
        return False
    path.unlink()
    return True


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
