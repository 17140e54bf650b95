"""Where on the overview of a slide there is tissue, and which tiles hold enough of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_node.domain import ByteArray

Mask = npt.NDArray[np.bool_]

LEAST_COLOUR, MOST_COLOUR = 0.05, 0.10
"""Bounds of the threshold: glass and grey dirt have less colour than the one, even pale tissue more than the other."""

LEAST_TISSUE = 0.25
"""Of a tile's area; with less, a tile is background."""

_BINS = 256


def tissue_mask(overview: ByteArray) -> Mask:
    """Tell stained tissue from glass by how strong its colour is (Otsu 1979, on the chroma).

    Chroma is the span from the weakest to the strongest of red, green and blue: white glass, black borders and
    grey dirt have none, however bright they are. The threshold is kept within bounds, so that an empty slide has no
    tissue and one that is all tissue no background.

    Args:
        overview: RGB, (H, W, 3).

    Returns:
        Boolean (H, W), without specks.
    """
    smooth = ndimage.uniform_filter(overview.astype(np.float32) / 255, size=(3, 3, 1), mode="nearest")
    chroma = smooth.max(axis=-1) - smooth.min(axis=-1)
    mask: Mask = chroma > np.clip(_otsu(chroma), LEAST_COLOUR, MOST_COLOUR)
    return np.asarray(ndimage.binary_opening(mask, iterations=1) if min(mask.shape) > 8 else mask, dtype=bool)


def _otsu(values: npt.NDArray[np.float32]) -> float:
    """The threshold that parts the values with the most variance between the two classes."""
    counts, edges = np.histogram(values, bins=_BINS, range=(0.0, 1.0))
    centers = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * centers)
    with np.errstate(divide="ignore", invalid="ignore"):
        means = sums / below, (sums[-1] - sums) / (below[-1] - below)
        between = below * (below[-1] - below) * (means[0] - means[1]) ** 2
    return float(edges[1:][int(np.nanargmax(between))]) if np.isfinite(between).any() else 0.0


def tissue_shares(
    mask: Mask, tops: npt.NDArray[np.float64], lefts: npt.NDArray[np.float64], height: float, width: float
) -> npt.NDArray[np.float64]:
    """Return which share of each tile is tissue, (len(tops), len(lefts)).

    Tile corners and sizes are in pixels of the mask, fractions of a pixel counted; what lies beyond the mask is no
    tissue.
    """
    rows, columns = mask.shape
    integral = np.zeros((rows + 1, columns + 1))
    integral[1:, 1:] = mask.cumsum(axis=0, dtype=np.float64).cumsum(axis=1)

    def below(edges: npt.NDArray[np.float64], limit: int, table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        edges = edges.clip(0, limit)
        low = np.minimum(edges.astype(np.int64), limit - 1)
        part = (edges - low)[:, None]
        return np.asarray(table[low] * (1 - part) + table[low + 1] * part)

    in_rows = below(tops + height, rows, integral) - below(tops, rows, integral)
    in_both = below(lefts + width, columns, in_rows.T) - below(lefts, columns, in_rows.T)
    return np.asarray(in_both.T / (height * width))
