"""Writing a result object so that it is there, whole, after a crash."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmwrite


def encode(dataset: Dataset) -> bytes:
    """The Part 10 file (PS3.10) of ``dataset``, whose file meta information must be complete."""
    buffer = BytesIO()
    dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def write_result(dataset: Dataset, path: Path, writing: Path | None = None) -> None:
    """Write ``dataset`` to ``path`` durably: on return it survives a power cut; before, ``path`` is as it was.

    Writing the same result again is harmless. The folder is made where it is missing. ``writing`` is where the file
    lies until it is whole, on the same file system; by default beside ``path``.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = (writing or path.parent) / f".{path.name}.{os.getpid()}.part"
    try:
        with temporary.open("wb") as file:
            file.write(encode(dataset))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
