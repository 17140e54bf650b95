"""Paints simple solids into a grid of Hounsfield units: what the synthetic patients are made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Point = tuple[float, float, float]

AIR = -1000.0


class VoxelGrid:
    """Hounsfield units on a regular grid in patient coordinates (PS3.3 C.7.6.2.1.1: +x left, +y posterior, +z head).

    ``hounsfield`` is (Z, Y, X); ``x``, ``y`` and ``z`` are the voxel centres in mm, ascending. Solids are painted
    over what is there, with an edge as wide as a voxel, so that one anatomy can be sampled at any resolution.
    """

    def __init__(self, x: Array, y: Array, z: Array) -> None:
        self.x, self.y, self.z = x, y, z
        self.hounsfield: Array = np.full((z.size, y.size, x.size), AIR, np.float32)
        self.softness = float(min(x[1] - x[0], y[1] - y[0]))

    def coordinates(self) -> tuple[Array, Array, Array]:
        """The z, y and x coordinate of every voxel, broadcastable against ``hounsfield``."""
        return self.z[:, None, None], self.y[None, :, None], self.x[None, None, :]

    def paint(self, signed_distance: Array, hounsfield: float | Array) -> Array:
        """Paint wherever ``signed_distance`` (mm, negative inside, the grid's shape) says; returns the coverage."""
        coverage = self.coverage(signed_distance)
        self.hounsfield += coverage * (np.asarray(hounsfield, np.float32) - self.hounsfield)
        return coverage

    def coverage(self, signed_distance: Array) -> Array:
        """How much of each voxel lies inside: 1 deep inside, 0 outside, half at the surface."""
        return np.asarray(np.clip(0.5 - signed_distance / self.softness, 0.0, 1.0), np.float32)

    def ellipsoid(
        self,
        centre: Point,
        radii: Point,
        hounsfield: float,
        *,
        within: Array | None = None,
        softness: float | None = None,
    ) -> None:
        """Paint an ellipsoid with its axes along x, y and z (mm), only where ``within`` (0 to 1) allows it."""
        box = self._box(centre, radii)
        z, y, x = self.z[box[0]], self.y[box[1]], self.x[box[2]]
        scaled = np.sqrt(
            ((z - centre[2]) / radii[2])[:, None, None] ** 2
            + ((y - centre[1]) / radii[1])[None, :, None] ** 2
            + ((x - centre[0]) / radii[0])[None, None, :] ** 2
        )
        coverage = self.coverage((scaled - 1.0) * min(radii))
        if within is not None:
            coverage = coverage * within[box]
        part = self.hounsfield[box]
        part += coverage * (np.float32(hounsfield) - part)

    def tube(
        self, path: Sequence[Point], radii: Sequence[float], hounsfield: float, *, within: Array | None = None
    ) -> None:
        """Paint a tube along ``path`` whose radius (mm) runs from the first to the last of ``radii``."""
        points = np.asarray(path, np.float64)
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        along = np.concatenate([[0.0], np.cumsum(steps)])
        spacing = max(min(radii) * 0.6, self.softness * 0.5)
        samples = np.linspace(0.0, along[-1], max(2, int(along[-1] / spacing) + 1))
        radius = np.interp(samples, np.linspace(0.0, along[-1], len(radii)), radii)
        centres = np.stack([np.interp(samples, along, points[:, axis]) for axis in range(3)], axis=1)
        for (x, y, z), r in zip(centres, radius, strict=True):
            self.ellipsoid((float(x), float(y), float(z)), (float(r),) * 3, hounsfield, within=within)

    def _box(self, centre: Point, radii: Point) -> tuple[slice, slice, slice]:
        def span(axis: Array, middle: float, radius: float) -> slice:
            low, high = np.searchsorted(axis, [middle - radius - self.softness, middle + radius + self.softness])
            return slice(int(low), int(high))

        return span(self.z, centre[2], radii[2]), span(self.y, centre[1], radii[1]), span(self.x, centre[0], radii[0])
