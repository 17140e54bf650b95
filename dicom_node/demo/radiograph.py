"""Projects a volume of Hounsfield units into a postero-anterior radiograph, as an X-ray detector would see it."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from dicom_node.demo.voxels import Array, VoxelGrid

WATER_PER_MM = 0.0165
"""Linear attenuation of water at about 80 keV, the mean energy of a 120 kVp chest beam (per mm)."""

SCATTER_FRACTION = 0.07
SCATTER_MM = 22.0
PHOTONS_PER_PIXEL = 60_000.0


def project(grid: VoxelGrid, rng: np.random.Generator, *, size: int, bits: int = 12) -> Array:
    """Make a square radiograph, (size, size), bones bright, patient's right on the image's left.

    Beer-Lambert along y through the attenuation that the Hounsfield units stand for, plus the scatter that
    survives the grid, photon noise, and the logarithm, edge enhancement and display curve of a digital system.
    """
    depth_mm = float(grid.y[1] - grid.y[0])
    attenuation = np.clip(grid.hounsfield / 1000.0 + 1.0, 0.0, None).sum(axis=1) * (WATER_PER_MM * depth_mm)
    square = attenuation[::-1]
    square = zoom(square, (size / square.shape[0], size / square.shape[1]), order=1)
    pixels_per_mm = size / (float(grid.z[1] - grid.z[0]) * grid.z.size)

    transmitted = np.exp(-square)
    exposure = transmitted + SCATTER_FRACTION * (gaussian_filter(transmitted, SCATTER_MM * pixels_per_mm) - transmitted)
    photons = rng.poisson(np.maximum(exposure, 0.004) * PHOTONS_PER_PIXEL)
    density = -np.log((photons + 1.0) / PHOTONS_PER_PIXEL)

    enhanced = density + 0.6 * (density - gaussian_filter(density, 10.0 * pixels_per_mm))
    low, high = np.percentile(enhanced[density > 0.4], [1.0, 99.5])
    curve = 1.0 / (1.0 + np.exp(-4.0 * (enhanced - (low + high) / 2.0) / (high - low)))
    black, white = 1.0 / (1.0 + np.exp(2.6)), 1.0 / (1.0 + np.exp(-2.3))
    shown = np.clip((curve - black) / (white - black), 0.0, 1.0)
    return np.asarray(np.rint(shown * (2**bits - 1)), np.float32)
