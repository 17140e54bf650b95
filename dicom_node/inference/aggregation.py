"""What the slices of a series say together: the highest mean over a stretch along the slice normal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

DoubleArray = npt.NDArray[np.float64]

SAME_POSITION_MM = 1e-3
_NEGLIGIBLE_SHARE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """The images that speak for a series: ``shares`` (S,) sum to 1, ``indices`` are ranked by probability."""

    probability: float
    shares: DoubleArray
    indices: tuple[int, ...]

    @classmethod
    def of(cls, values: DoubleArray, shares: DoubleArray) -> Stretch:
        """Weight the images' probabilities by their shares."""
        ranked = [int(index) for index in np.argsort(-values, kind="stable") if shares[index] > _NEGLIGIBLE_SHARE]
        return cls(float(np.clip(shares @ values, 0, 1)), shares, tuple(ranked))


def strongest_image(probabilities: Sequence[float]) -> Stretch:
    """Return the single most probable image: the rule for images without a common geometry."""
    values = np.asarray(probabilities, dtype=np.float64)
    shares = np.zeros(len(values))
    shares[int(np.argmax(values))] = 1.0
    return Stretch.of(values, shares)


def strongest_stretch(probabilities: Sequence[float], positions_mm: Sequence[float], extent_mm: float) -> Stretch:
    """Return the stretch of ``extent_mm`` with the highest mean probability.

    Each slice stands for the part of the body that is nearer to it than to any other, so the slices' number,
    spacing and thickness carry no weight of their own; slices at one position share its part. A gap wider
    than ``extent_mm`` ends a stretch, so slices beyond it change nothing; where less than ``extent_mm`` is
    covered in one piece, the piece's whole mean is taken.

    Args:
        probabilities: of the finding, one an image.
        positions_mm: of the images along the slice normal, in any order.
        extent_mm: length of the stretch.
    """
    values = np.asarray(probabilities, dtype=np.float64)
    centers, place = _distinct_positions(np.asarray(positions_mm, dtype=np.float64))
    repeats = np.bincount(place)
    means = np.bincount(place, values) / repeats
    pieces = np.split(np.arange(len(centers)), np.flatnonzero(np.diff(centers) > extent_mm) + 1)
    candidates = [(piece, _strongest_in_piece(centers[piece], means[piece], extent_mm)) for piece in pieces]
    piece, shares = max(candidates, key=lambda candidate: float(candidate[1] @ means[candidate[0]]))
    by_position = np.zeros(len(centers))
    by_position[piece] = shares
    return Stretch.of(values, by_position[place] / repeats[place])


def _distinct_positions(positions: DoubleArray) -> tuple[DoubleArray, npt.NDArray[np.int64]]:
    """Return the sorted distinct positions, and for each image which of them is its own."""
    order = np.argsort(positions, kind="stable")
    steps = np.diff(positions[order]) > SAME_POSITION_MM
    place = np.empty(len(positions), dtype=np.int64)
    place[order] = np.concatenate([[0], np.cumsum(steps)])
    return np.bincount(place, positions) / np.bincount(place), place


def _strongest_in_piece(centers: DoubleArray, values: DoubleArray, extent_mm: float) -> DoubleArray:
    """Return the share of each slice in the best window over a piece without wide gaps."""
    if len(centers) == 1:
        return np.ones(1)
    middles = (centers[1:] + centers[:-1]) / 2
    first, last = 2 * centers[0] - middles[0], 2 * centers[-1] - middles[-1]
    edges = np.concatenate([[first], middles, [last]])
    integral = np.concatenate([[0.0], np.cumsum(values * np.diff(edges))])
    length = min(extent_mm, float(last - first))
    # The mean over a sliding window is piecewise linear, so it is highest where an end meets an edge.
    starts = np.clip(np.concatenate([edges, edges - length]), first, last - length)
    means = np.interp(starts + length, edges, integral) - np.interp(starts, edges, integral)
    start = float(starts[int(np.argmax(means))])
    overlap = np.minimum(edges[1:], start + length) - np.maximum(edges[:-1], start)
    shares: DoubleArray = overlap.clip(min=0) / overlap.clip(min=0).sum()
    return shares
