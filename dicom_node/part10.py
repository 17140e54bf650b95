"""The headers of Part 10 files, read so that nothing in them can fail later."""

from __future__ import annotations

import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cachetools import LRUCache
from pydicom import DataElement, Dataset, config, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.valuerep import AMBIGUOUS_VR

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

_REMEMBERED_BYTES = 4 << 20
"""Of headers as they lie on disk: those of about 1000 CT images, some 100 MB once parsed."""


class _Header(NamedTuple):
    dataset: Dataset
    size: int


_remembered: LRUCache[tuple[Path, int, int, int], _Header] = LRUCache(_REMEMBERED_BYTES, lambda header: header.size)
_lock = threading.Lock()


class UnreadableHeader(Exception):
    """A file is no DICOM Part 10 file, or is broken before its pixels; the text says which, as a clause."""


def read_header(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """Read a file's data set without its pixels.

    pydicom converts a value only when it is asked for. Here all are, and what cannot be converted is dropped:
    a broken attribute counts as missing, and the rest of the header can be relied on.

    Selection, imaging and the builders of results ask for the same headers one after the other, so the last ones
    read are remembered, and must not be changed. A file that was replaced is read again.

    Args:
        path: the file.
        keywords: what the caller needs; None is the whole header. The others may be there or not.

    Raises:
        UnreadableHeader: the file is missing, no Part 10 file, or broken before its pixels.
    """
    try:
        identity = _identity(path)
        with _lock:
            known = _remembered.get(identity)
        if known is not None:
            return known.dataset
        with path.open("rb") as file:
            tags = None if keywords is None else list(keywords)
            dataset = dcmread(file, stop_before_pixels=True, specific_tags=tags)
            size = file.tell()
    except InvalidDicomError:
        raise UnreadableHeader("it is no DICOM Part 10 file") from None
    except BROKEN as error:
        raise UnreadableHeader(f"it could not be read ({in_one_line(error)})") from error
    _drop_unconvertible(dataset)
    if keywords is None and size <= _REMEMBERED_BYTES:
        with _lock:
            _remembered[identity] = _Header(dataset, size)
    return dataset


def _identity(path: Path) -> tuple[Path, int, int, int]:
    """The file, and what changes when another takes its place."""
    status = path.stat()
    return path, status.st_ino, status.st_mtime_ns, status.st_size


def in_one_line(error: Exception) -> str:
    """What went wrong in one line; of pydicom's decoders, what the first plug-in said below their heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)] if lines else type(error).__name__


def _drop_unconvertible(dataset: Dataset) -> None:
    encoding = str(dataset.original_character_set)
    for tag in list(dataset.keys()):
        raw = dataset.get_item(tag)
        key = _shared_key(raw, encoding)
        if (known := _converted.get(key)) is not None:
            dataset[tag] = known
            continue
        try:
            element = dataset[tag]
            items = list(element.value) if element.VR == "SQ" else []
        except BROKEN:
            del dataset[tag]
            continue
        if key is not None:
            _remember_converted(key, element)
        for item in items:
            _drop_unconvertible(item)


_ConvertedKey = tuple[BaseTag, str, bytes, bool, str]

_converted: dict[_ConvertedKey | None, DataElement] = {}
"""Elements as they were converted last: most are the same in every image of a series, and converting them is half of
what reading a header costs."""
_MOST_CONVERTED = 5000
_LONGEST_CONVERTED = 64
_CONVERTED_BY_THEIR_DATASET = frozenset({"SQ", "UN", *AMBIGUOUS_VR})


def _shared_key(raw: DataElement | RawDataElement | None, encoding: str) -> _ConvertedKey | None:
    """All that the converted element depends on; None where it depends on other elements too, or is long."""
    if not isinstance(raw, RawDataElement) or raw.VR is None or raw.value is None or raw.tag.is_private:
        return None
    if raw.VR in _CONVERTED_BY_THEIR_DATASET or len(raw.value) > _LONGEST_CONVERTED:
        return None
    return raw.tag, raw.VR, raw.value, raw.is_little_endian, encoding


def _remember_converted(key: _ConvertedKey, element: DataElement) -> None:
    if len(_converted) >= _MOST_CONVERTED:
        _converted.clear()
    _converted[key] = element
