"""The one place where DICOM files are opened and their frames decoded, whatever the transfer syntax."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset, dcmread
from pydicom.pixels.utils import iter_pixels
from pydicom.uid import RLELossless

from dicom_node import part10
from dicom_node.imaging.errors import UnreadableImage

MAXIMUM_PIXELS = 100_000_000
"""Of one frame; more than any detector gives, and a guard against headers that claim nonsense."""

_NUMBERS = ("Rows", "Columns", "BitsAllocated", "BitsStored")


def read_header(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """Read a Part 10 file without its pixels; ``keywords`` limits what is kept of it.

    Raises:
        UnreadableImage: the file is missing, no Part 10 file, or cut short before its pixels.
    """
    try:
        return part10.read_header(path, keywords)
    except part10.UnreadableHeader as error:
        raise UnreadableImage(path, str(error)) from error


def decode_frames(path: Path, header: Dataset, indices: Sequence[int]) -> Iterator[npt.NDArray[Any]]:
    """Decode frames (counted from 0) of a file: stored values, (rows, columns) or, in colour, (rows, columns, 3) RGB.

    Unused high bits are cleared and signs extended (PS3.5 8.1.1); YBR becomes RGB.

    Raises:
        UnreadableImage: there are no pixels, they are cut short, or no decoder reads them.
    """
    _check_image_pixel_module(path, header)
    try:
        # Handed the path, iter_pixels would seek in the file, which a deflated data set does not allow.
        dataset = dcmread(path)
        # On broken segments the RLE plug-in in Rust panics, past every except, where pydicom's own decoder raises.
        plugin = "pydicom" if dataset.file_meta.TransferSyntaxUID == RLELossless else ""
        yield from iter_pixels(dataset, indices=list(indices), decoding_plugin=plugin)
    except part10.BROKEN as error:
        uid = str(header.get("SOPInstanceUID", ""))
        raise UnreadableImage(path, f"it could not be decoded ({part10.in_one_line(error)})", uid) from error


def _check_image_pixel_module(path: Path, header: Dataset) -> None:
    """Refuse what decoders would misread in silence."""
    uid = str(header.get("SOPInstanceUID", ""))
    missing = [keyword for keyword in _NUMBERS if numbers(header, keyword, 1) is None]
    if missing or not header.get("PhotometricInterpretation"):
        missing = missing or ["PhotometricInterpretation"]
        raise UnreadableImage(path, f"it holds no image ({', '.join(missing)} missing)", uid)
    if int(header.Rows) * int(header.Columns) > MAXIMUM_PIXELS:
        raise UnreadableImage(path, f"{header.Rows} x {header.Columns} pixels is more than is read", uid)
    high_bit = first_value(header, "HighBit")
    if high_bit is not None and high_bit != int(header.BitsStored) - 1:
        layout = f"High Bit {high_bit:.0f} with {header.BitsStored} Bits Stored"
        raise UnreadableImage(path, f"{layout} is a layout that is not read (PS3.5 8.1.1)", uid)


def first_value(header: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute, None where it is missing, empty or no number."""
    values = _numbers(header, keyword)
    return values[0] if values else None


def numbers(header: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly ``count`` finite numbers of an attribute, None where it has not that many."""
    values = _numbers(header, keyword)
    return values if values is not None and len(values) == count else None


def _numbers(header: Dataset, keyword: str) -> tuple[float, ...] | None:
    value: object = header.get(keyword)
    try:
        values = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
        parsed = tuple(float(str(item)) for item in values)
    except ValueError:
        return None
    return parsed if np.all(np.isfinite(parsed)) else None
