"""The headers of Part 10 files, read so that nothing in them can fail later."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

from pydicom import Dataset, config, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError

# pydicom would log and warn of values that break their VR, and repeat them: a name or a birth date in the log.
config.settings.reading_validation_mode = config.IGNORE

BROKEN = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom, its decoders' plug-ins and numpy raise on files that are cut short or contradict themselves."""


class UnreadableHeader(Exception):
    """A file is no DICOM Part 10 file, or is broken before its pixels; the text says which, as a clause."""


def read_header(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """Read a file's data set without its pixels.

    pydicom converts a value only when it is asked for. Here all are, and what cannot be converted is dropped:
    a broken attribute counts as missing, and the rest of the header can be relied on.

    Args:
        path: the file.
        keywords: limits what is kept of the header; None keeps all.

    Raises:
        UnreadableHeader: the file is missing, no Part 10 file, or broken before its pixels.
    """
    try:
        dataset = dcmread(path, stop_before_pixels=True, specific_tags=None if keywords is None else list(keywords))
    except InvalidDicomError:
        raise UnreadableHeader("it is no DICOM Part 10 file") from None
    except BROKEN as error:
        raise UnreadableHeader(f"it could not be read ({in_one_line(error)})") from error
    _drop_unconvertible(dataset)
    return dataset


def in_one_line(error: Exception) -> str:
    """What went wrong in one line; of pydicom's decoders, what the first plug-in said below their heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)] if lines else type(error).__name__


def _drop_unconvertible(dataset: Dataset) -> None:
    for tag in list(dataset.keys()):
        try:
            element = dataset[tag]
            items = list(element.value) if element.VR == "SQ" else []
        except BROKEN:
            del dataset[tag]
            continue
        for item in items:
            _drop_unconvertible(item)
