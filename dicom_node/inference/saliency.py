"""Grad-CAM of a class on one image, brought back to the image's own pixel grid."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from monai.visualize.class_activation_maps import GradCAM
from torch.nn import functional

from dicom_node.domain import FloatArray
from dicom_node.inference.bundle import Bundle

DoubleArray = npt.NDArray[np.float64]


class Saliency:
    """Computes heat maps for one bundle; the hooks stay on its network."""

    def __init__(self, bundle: Bundle, target_layer: str) -> None:
        self._bundle = bundle
        self._grad_cam = GradCAM(nn_module=bundle.network, target_layers=target_layer)

    def heat_map(self, image: FloatArray, class_index: int) -> FloatArray | None:
        """Return where on the image the class is seen (Selvaraju et al. 2017).

        Args:
            image: display grey (H, W) or colour (H, W, 3), before the bundle's preprocessing.
            class_index: which class.

        Returns:
            float32 (H, W) in [0, 1] with its peak at 1, or None where nothing speaks for the class.
        """
        prepared = self._bundle.preprocessing(image)
        batch = prepared.as_tensor()[None].to(self._bundle.device).requires_grad_(True)
        with torch.enable_grad():
            activation = self._grad_cam.compute_map(batch, class_idx=class_index)
        affine = np.asarray(prepared.affine, dtype=np.float64)
        heat = to_image_grid(activation.detach().float().cpu()[0, 0], affine, prepared.shape[1:], image.shape[:2])
        peak = float(heat.max())
        return heat / np.float32(peak) if peak > 0 else None


def to_image_grid(
    activation: torch.Tensor, affine: DoubleArray, network_shape: tuple[int, ...], image_shape: tuple[int, ...]
) -> FloatArray:
    """Interpolate a network's activation map (h, w) at the pixel centres of the image (H, W).

    ``affine`` maps pixel indices (row, column) of the network's input to those of the image, as MONAI's
    transforms record it, whether they resize, crop, pad, flip or transpose. The activation map is taken to
    cover the network's input edge to edge. Pixels that the network never saw are 0.
    """
    inverse = np.linalg.inv(affine)
    rows, columns = np.meshgrid(np.arange(image_shape[0]), np.arange(image_shape[1]), indexing="ij")
    network_row = inverse[0, 0] * rows + inverse[0, 1] * columns + inverse[0, -1]
    network_column = inverse[1, 0] * rows + inverse[1, 1] * columns + inverse[1, -1]
    # grid_sample without align_corners: -1 and 1 are the outer edges, pixel centres lie half a pixel inside.
    x = (network_column + 0.5) / network_shape[1] * 2 - 1
    y = (network_row + 0.5) / network_shape[0] * 2 - 1
    grid = torch.from_numpy(np.stack([x, y], axis=-1)[None]).to(activation.dtype)
    sampled = functional.grid_sample(activation[None, None], grid, padding_mode="border", align_corners=False)
    seen = (np.abs(x) <= 1) & (np.abs(y) <= 1)
    return np.asarray(np.where(seen, sampled[0, 0].numpy(), 0), dtype=np.float32)
