"""The outline of the hot area of a heat map, as a DICOM spatial coordinates polygon."""

from __future__ import annotations

import contourpy
import numpy as np
import numpy.typing as npt

from dicom_node.domain import FloatArray, Polygon

DoubleArray = npt.NDArray[np.float64]

MAXIMUM_VERTICES = 60
LARGEST_SHARE = 0.15
_THRESHOLD_STEP = 0.05
_LARGEST_GRID = 512
"""Pixels of a side that are looked at, at most: heat maps are interpolated from a network's few dozen cells."""


def outline(heat_map: FloatArray, threshold: float) -> Polygon | None:
    """Outline the connected area around the peak that is hotter than ``threshold`` times the peak.

    A diffuse map would give an outline of half the image, which points nowhere: the threshold is raised until the
    area is at most ``LARGEST_SHARE`` of the image.

    Args:
        heat_map: (H, W), not negative.
        threshold: fraction of the peak, between 0 and 1.

    Returns:
        Closed polygon of at most ``MAXIMUM_VERTICES`` (column, row) vertices within the image, in the SCOORD
        convention (PS3.3 C.18.6.1.1: pixel centres at 0.5); None where nothing is hot.
    """
    step = max(1, max(heat_map.shape) // _LARGEST_GRID)
    shape, heat_map = heat_map.shape, heat_map[::step, ::step]
    peak = float(heat_map.max(initial=0.0))
    if peak <= 0:
        return None
    # A cold rim closes contours that would run out of the image.
    generator = contourpy.contour_generator(z=np.pad(heat_map, 1))
    row, column = np.unravel_index(int(np.argmax(heat_map)), heat_map.shape)
    found: DoubleArray | None = None
    for fraction in np.arange(threshold, 1.0, _THRESHOLD_STEP):
        around = [
            line - 1
            for line in map(np.asarray, generator.lines(fraction * peak))
            if _encloses(line - 1, float(column), float(row))
        ]
        if not around:
            break
        found = min(around, key=_area)
        if _area(found) <= LARGEST_SHARE * heat_map.size:
            break
    return None if found is None else _vertices(found * step, shape)


def _vertices(line: DoubleArray, shape: tuple[int, ...]) -> Polygon:
    polygon = np.clip(_thin(line) + 0.5, 0, [shape[1], shape[0]])
    vertices = [(round(float(x), 2), round(float(y), 2)) for x, y in polygon]
    return (*vertices[:-1], vertices[0])


def _thin(line: DoubleArray) -> DoubleArray:
    """Keep the shape with fewer vertices, evenly spaced along the line."""
    if len(line) <= MAXIMUM_VERTICES:
        return line
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    stops = np.linspace(0, along[-1], MAXIMUM_VERTICES)
    return np.stack([np.interp(stops, along, line[:, 0]), np.interp(stops, along, line[:, 1])], axis=1)


def _area(line: DoubleArray) -> float:
    x, y = line[:-1].T
    following_x, following_y = line[1:].T
    return abs(float(np.sum(x * following_y - following_x * y))) / 2


def _encloses(line: DoubleArray, x: float, y: float) -> bool:
    """Count the crossings of a ray to the right: odd is inside."""
    (x0, y0), (x1, y1) = line[:-1].T, line[1:].T
    crosses = (y0 > y) != (y1 > y)
    with np.errstate(divide="ignore", invalid="ignore"):
        at = x0 + (y - y0) * (x1 - x0) / (y1 - y0)
    return bool(np.count_nonzero(crosses & (x < at)) % 2)
