"""Holds a network on one backend against the same network on another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dicom_node.domain import FloatArray
from dicom_node.inference.backends.network import Network
from dicom_node.inference.calibration import calibrated_probabilities
from dicom_node.inference.preprocessing import Preprocessing
from dicom_node.manifest import BundleManifest

TOLERANCE = 1e-4
"""Greatest difference that is let through: of a calibrated probability."""

HEAT_MAP_TOLERANCE = 1e-3
"""The same of a heat map whose peak is 1."""

BATCH_SIZES = (1, 2, 7)
_EXPLAINED_IMAGES = 3


class VaryingSize(ValueError):
    """A bundle's preprocessing gives images of different sizes, so that its network cannot be traced with one."""


def noise(preprocessing: Preprocessing) -> list[FloatArray]:
    """Noise from coarse to fine, and an empty image, through a bundle's own preprocessing; each (C, h, w).

    Raises:
        VaryingSize: (h, w) depends on the image that came.
    """
    random = np.random.default_rng(0)
    pictures = [np.zeros((256, 256), dtype=np.float32)]
    for size in (4, 16, 64, 256):
        for _ in range(4):
            coarse = random.random((size, size), dtype=np.float32)
            pictures.append(np.kron(coarse, np.ones((256 // size, 256 // size), dtype=np.float32)))
    images = [preprocessing(picture).pixels for picture in (*pictures, pictures[-1][:200])]
    if len({image.shape for image in images}) > 1:
        raise VaryingSize("its preprocessing does not bring images to one size")
    return images


def greatest_difference(
    network: Network, reference: Network, images: Sequence[FloatArray], manifest: BundleManifest
) -> float:
    """Return how far calibrated probabilities are apart at most, over all images in batches of several sizes."""
    differences: list[float] = []
    start = 0
    while start < len(images):
        batch = np.stack(images[start : start + BATCH_SIZES[len(differences) % len(BATCH_SIZES)]])
        start += len(batch)
        expected, found = (
            calibrated_probabilities(one.logits(batch), manifest.calibration) for one in (reference, network)
        )
        differences.append(float(np.abs(found - expected).max()) if found.shape == expected.shape else float("inf"))
    return max(differences)


def greatest_heat_map_difference(
    network: Network, reference: Network, images: Sequence[FloatArray], manifest: BundleManifest
) -> float:
    """Return how far Grad-CAM maps, brought to a peak of 1, are apart at most, over some images and every class."""
    if manifest.saliency is None:
        return 0.0
    differences: list[float] = []
    for image in images[:: max(1, len(images) // _EXPLAINED_IMAGES)]:
        for index in range(len(manifest.classes)):
            expected = reference.grad_cam(image, index)
            peak = float(expected.max())
            difference = float(np.abs(network.grad_cam(image, index) - expected).max())
            # Where nothing speaks for the class there is no peak to measure by; the map must be as empty.
            differences.append(difference / peak if peak > 0 else (float("inf") if difference else 0.0))
    return max(differences)
