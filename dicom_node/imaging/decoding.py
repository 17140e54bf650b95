"""The one place where DICOM files are opened and their frames decoded, whatever the transfer syntax."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.pixels.utils import iter_pixels

from dicom_node.imaging.errors import UnreadableImage

MAXIMUM_PIXELS = 100_000_000
"""Of one frame; more than any detector gives, and a guard against headers that claim nonsense."""

# What pydicom, its decoders' plug-ins and numpy raise on files that are cut short or contradict themselves.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


def read_header(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """Read a Part 10 file without its pixels; ``keywords`` limits what is kept of it.

    Raises:
        UnreadableImage: the file is missing, no Part 10 file, or cut short before its pixels.
    """
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=None if keywords is None else list(keywords))
    except InvalidDicomError:
        raise UnreadableImage(path, "it is no DICOM Part 10 file") from None
    except _BROKEN as error:
        raise UnreadableImage(path, f"it could not be read ({_words(error)})") from error


def decode_frames(path: Path, header: Dataset, indices: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """Decode frames (counted from 0) of a file: stored values, (rows, columns) or, in colour, (rows, columns, 3) RGB.

    Unused high bits are cleared and signs extended (PS3.5 8.1.1); YBR becomes RGB.

    Raises:
        UnreadableImage: there are no pixels, they are cut short, or no decoder reads them.
    """
    _check_image_pixel_module(path, header)
    try:
        # Handed the path, iter_pixels would seek in the file, which a deflated data set does not allow.
        yield from iter_pixels(dcmread(path), indices=list(indices))
    except _BROKEN as error:
        uid = str(header.get("SOPInstanceUID", ""))
        raise UnreadableImage(path, f"it could not be decoded ({_words(error)})", uid) from error


def _check_image_pixel_module(path: Path, header: Dataset) -> None:
    """Refuse what decoders would misread in silence."""
    uid = str(header.get("SOPInstanceUID", ""))
    missing = [
        keyword
        for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PhotometricInterpretation")
        if header.get(keyword) in (None, "")
    ]
    if missing:
        raise UnreadableImage(path, f"it holds no image ({', '.join(missing)} missing)", uid)
    if int(header.Rows) * int(header.Columns) > MAXIMUM_PIXELS:
        raise UnreadableImage(path, f"{header.Rows} x {header.Columns} pixels is more than is read", uid)
    high_bit = header.get("HighBit")
    if high_bit is not None and int(high_bit) != int(header.BitsStored) - 1:
        layout = f"High Bit {high_bit} with {header.BitsStored} Bits Stored"
        raise UnreadableImage(path, f"{layout} is a layout that is not read (PS3.5 8.1.1)", uid)


def _words(error: BaseException) -> str:
    """What a decoder said in one line; pydicom lists what each plug-in said below a heading."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[min(1, len(lines) - 1)] if lines else type(error).__name__


def first_value(header: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute, None where it is missing, empty or no number."""
    value: object = header.get(keyword)
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    if value in (None, ""):
        return None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if np.isfinite(number) else None


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly ``count`` finite numbers of an attribute, None where it has not that many."""
    value: object = header.get(keyword)
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != count:
        return None
    try:
        result = tuple(float(str(item)) for item in value)
    except ValueError:
        return None
    return result if np.all(np.isfinite(result)) else None
