"""Grad-CAM of a class on one image, brought back to the image's own pixel grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

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
    """
    inverse = np.linalg.inv(affine)
    rows, columns = np.meshgrid(np.arange(image_shape[0]), np.arange(image_shape[1]), indexing="ij")
    # Shares of the network's input: its outer edges are at 0 and 1, and pixel centres lie half a pixel inside.
    down = (inverse[0, 0] * rows + inverse[0, 1] * columns + inverse[0, -1] + 0.5) / network_shape[0]
    across = (inverse[1, 0] * rows + inverse[1, 1] * columns + inverse[1, -1] + 0.5) / network_shape[1]
    places = [down * activation.shape[0] - 0.5, across * activation.shape[1] - 0.5]
    sampled = ndimage.map_coordinates(activation, places, order=1, mode="nearest")
    seen = (down >= 0) & (down <= 1) & (across >= 0) & (across <= 1)
    return np.asarray(np.where(seen, sampled, 0), dtype=np.float32)
