"""What the tiles of a slide say together: the highest mean over a square that tissue fills well enough."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhood:
    """The tiles that speak for a slide: ``members`` (rows, columns), and the mean of their probabilities."""

    probability: float
    members: Mask


def strongest_neighbourhood(probabilities: DoubleArray, tissue: Mask, side: int) -> Neighbourhood:
    """Return the square of ``side`` x ``side`` tiles whose tissue tiles have the highest mean.

    Only squares count that tissue fills at least half, or, where none is, those that it fills most: a stray tile
    at the rim of the tissue is not a slide's finding, yet the smallest biopsy has one. Background carries no weight.

    Args:
        probabilities: of the finding, (rows, columns); anything where there is no tissue.
        tissue: which tiles hold tissue; at least one does.
        side: of the square, in tiles; cut to the grid.
    """
    height, width = min(side, tissue.shape[0]), min(side, tissue.shape[1])
    values = np.where(tissue, probabilities, 0.0)
    counts = np.rint(_window_sums(tissue.astype(np.float64), height, width))
    enough = min(np.ceil(height * width / 2), counts.max())
    means = np.where(counts >= enough, _window_sums(values, height, width) / np.maximum(counts, 1), -1.0)
    top, left = np.unravel_index(int(np.argmax(means)), means.shape)
    members = np.zeros_like(tissue)
    members[top : top + height, left : left + width] = tissue[top : top + height, left : left + width]
    return Neighbourhood(float(values[members].mean().clip(0, 1)), members)


def local_means(probabilities: DoubleArray, tissue: Mask, side: int) -> DoubleArray:
    """Return for every tile the mean over the square around it, (rows, columns); 0 where there is no tissue.

    Where tissue fills less than half of a square the rest of that half counts as 0.
    """
    reach = side // 2, side - 1 - side // 2
    values = np.pad(np.where(tissue, probabilities, 0.0), [reach, reach])
    counts = np.rint(_window_sums(np.pad(tissue.astype(np.float64), [reach, reach]), side, side))
    enough = min(np.ceil(side * side / 2), counts.max())
    return np.where(tissue, _window_sums(values, side, side) / np.maximum(counts, enough), 0.0)


def _window_sums(values: DoubleArray, height: int, width: int) -> DoubleArray:
    """The sum of every window that lies within ``values``, by its upper left corner."""
    integral = np.pad(values.cumsum(axis=0).cumsum(axis=1), [(1, 0), (1, 0)])
    return np.asarray(
        integral[height:, width:]
        - integral[:-height, width:]
        - integral[height:, :-width]
        + integral[:-height, :-width]
    )
