"""Grad-CAM of a class on one image, brought back to the image's own pixel grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dicom_node.domain import FloatArray
from dicom_node.inference.bundle import Bundle

DoubleArray = npt.NDArray[np.float64]


def heat_map(bundle: Bundle, image: FloatArray, class_index: int) -> FloatArray | None:
    """Return where on the image the class is seen (Grad-CAM, Selvaraju et al. 2017).

    Args:
        bundle: a bundle whose manifest has ``saliency``.
        image: display grey (H, W) or colour (H, W, 3), before the bundle's preprocessing.
        class_index: which class.

    Returns:
        float32 (H, W) in [0, 1] with its peak at 1, or None where nothing speaks for the class.
    """
    prepared = bundle.preprocessing(image)
    activation = bundle.network.grad_cam(prepared.pixels, class_index)
    heat = to_image_grid(activation, prepared.affine, prepared.pixels.shape[1:], image.shape[:2])
    peak = float(heat.max())
    return heat / np.float32(peak) if peak > 0 else None


def to_image_grid(
    activation: FloatArray, affine: DoubleArray, network_shape: tuple[int, ...], image_shape: tuple[int, ...]
) -> FloatArray:
    """Interpolate a network's activation map (h, w) at the pixel centres of the image (H, W).

    ``affine`` maps pixel indices (row, column) of the network's input to those of the image, as MONAI's
    transforms record it, whether they resize, crop, pad, flip or transpose. The activation map is taken to
    cover the network's input edge to edge. Pixels that the network never saw are 0.

    Raises:
        ValueError: ``affine`` turns the image by another angle.
    """
    inverse = np.linalg.inv(affine)[:2]
    if np.allclose(np.diag(inverse), 0):  # the network sees the image's columns as rows
        activation, network_shape, inverse = activation.T, network_shape[::-1], inverse[::-1]
    if not np.allclose([inverse[0, 1], inverse[1, 0]], 0):
        raise ValueError("the preprocessing turns the image, which heat maps cannot follow")
    down, across = (
        _interpolation(inverse[axis, axis], inverse[axis, -1], *lengths)
        for axis, lengths in enumerate(zip(image_shape, network_shape, activation.shape, strict=True))
    )
    return np.asarray(down @ activation.astype(np.float32) @ across.T, dtype=np.float32)


def _interpolation(scale: float, offset: float, pixels: int, network_pixels: int, cells: int) -> FloatArray:
    """Weights (pixels, cells) of the cells of an activation map's axis at the pixel centres of the image's axis."""
    # Shares of the network's input: its outer edges are at 0 and 1, and pixel centres lie half a pixel inside.
    share = (scale * np.arange(pixels) + offset + 0.5) / network_pixels
    place = np.clip(share * cells - 0.5, 0, cells - 1)
    weights = np.maximum(0, 1 - np.abs(place[:, None] - np.arange(cells)))
    weights[(share < 0) | (share > 1)] = 0
    return np.asarray(weights, dtype=np.float32)
