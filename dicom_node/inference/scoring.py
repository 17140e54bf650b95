"""Calibrated class probabilities of every image of a stack."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import softmax

from dicom_node.domain import ImageStack
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleError
from dicom_node.manifest import Calibration

DoubleArray = npt.NDArray[np.float64]

BATCH_SIZE = 32


def calibrated_probabilities(logits: DoubleArray, calibration: Calibration) -> DoubleArray:
    """Return the softmax of (N, classes) logits over the calibration's temperature (Guo et al. 2017)."""
    probabilities: DoubleArray = softmax(logits / calibration.temperature, axis=1)
    return probabilities


def score_images(bundle: Bundle, stack: ImageStack) -> DoubleArray:
    """Return the calibrated class probabilities (S, classes) of the images, each by itself.

    Raises:
        BundleError: the network's output does not fit the classes of the manifest.
    """
    count = len(stack.planes)
    logits = [_logits(bundle, stack, range(i, min(i + BATCH_SIZE, count))) for i in range(0, count, BATCH_SIZE)]
    return calibrated_probabilities(np.concatenate(logits), bundle.manifest.calibration)


@torch.inference_mode()
def _logits(bundle: Bundle, stack: ImageStack, indices: range) -> DoubleArray:
    prepare = bundle.preprocessing
    batch = torch.stack([prepare(prepare.display_image(stack, index)).as_tensor() for index in indices])
    # Half precision only where it is fast and its error is small beside what calibration leaves.
    with torch.autocast(bundle.device.type, dtype=torch.float16, enabled=bundle.device.type == "cuda"):
        output = bundle.network(batch.to(bundle.device))
    expected = (len(indices), len(bundle.manifest.classes))
    if not isinstance(output, torch.Tensor) or tuple(output.shape) != expected:
        found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
        raise BundleError(f"{bundle.name}: the network gives {found} where node.yaml's classes need {expected}.")
    return np.asarray(output.float().cpu().numpy(), dtype=np.float64)
