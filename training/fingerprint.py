"""Perceptual fingerprints: images that look the same have nearly the same bits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from dicom_node.domain import FloatArray

SIDE = 16
"""Of the grid of comparisons. With 8 x 8, axial slices and chest radiographs of different patients collide."""

NEAR = 8
"""Of 256 bits. On chest radiographs and abdominal slices of different patients the least distance was 11."""

_CHUNK = 256


def fingerprint(grey: FloatArray) -> str:
    """Return the difference hash (dHash) of display grey (H, W) in [0, 1]: 256 bits in hexadecimal.

    Each bit says whether a cell of a 16 x 17 grid is brighter than its left neighbour. Resizing, recompression
    and changes of brightness leave it almost as it is; mirroring and rotation do not.
    """
    small = Image.fromarray(grey).resize((SIDE + 1, SIDE), Image.Resampling.BOX)
    levels = np.rint(np.asarray(small) * 255).astype(np.int16)
    return np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes().hex()


def near_pairs(left: Sequence[str], right: Sequence[str], limit: int = NEAR) -> list[tuple[int, int]]:
    """Return the index pairs (left, right) whose fingerprints differ in at most ``limit`` bits."""
    if not left or not right:
        return []
    a, b = _bits(left), _bits(right)
    pairs: list[tuple[int, int]] = []
    for start in range(0, len(a), _CHUNK):
        part = a[start : start + _CHUNK, None]
        distances = np.bitwise_count(part ^ b[None]).sum(axis=2, dtype=np.int64)
        pairs += [(start + int(i), int(j)) for i, j in np.argwhere(distances <= limit)]
    return pairs


def _bits(fingerprints: Sequence[str]) -> npt.NDArray[np.uint64]:
    joined = bytes.fromhex("".join(fingerprints))
    return np.frombuffer(joined, dtype=np.uint64).reshape(len(fingerprints), -1)
