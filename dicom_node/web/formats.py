"""Files that arrive over HTTP: told apart by their first bytes, and given a path without touching a disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SIGNATURES = {"PNG": (0, b"\x89PNG\r\n\x1a\n"), "JPEG": (0, b"\xff\xd8\xff"), "DICOM": (128, b"DICM")}


class UnknownFormat(Exception):
    """The bytes are neither DICOM nor PNG nor JPEG."""


def image_format(content: bytes) -> str:
    """DICOM, PNG or JPEG, by the first bytes.

    Raises:
        UnknownFormat: it is none of these.
    """
    for name, (offset, signature) in _SIGNATURES.items():
        if content[offset : offset + len(signature)] == signature:
            return name
    raise UnknownFormat


@contextmanager
def as_file(content: bytes) -> Iterator[Path]:
    """A file in memory that has a path: patient data sent for a prediction never touches a disk."""
    descriptor = os.memfd_create("prediction")
    try:
        with os.fdopen(os.dup(descriptor), "wb") as file:
            file.write(content)
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
