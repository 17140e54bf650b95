"""How much memory the images of a series take once decoded, told from their headers."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from pydicom import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

_BYTES_A_SAMPLE = 4  # what models read is float32


def decoded_megabytes(headers: Iterable[Dataset]) -> int:
    """MiB of all pixels together; whole slides count nothing, since they are read a part at a time."""
    return _BYTES_A_SAMPLE * sum(_samples(header) for header in headers) >> 20


def _samples(header: Dataset) -> int:
    if header.get("SOPClassUID") == VLWholeSlideMicroscopyImageStorage:
        return 0
    sides = (header.get("Rows"), header.get("Columns"))
    return prod(int(side or 0) for side in sides) * prod(
        int(header.get(keyword) or 1) for keyword in ("NumberOfFrames", "SamplesPerPixel")
    )
