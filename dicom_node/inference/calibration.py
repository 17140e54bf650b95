"""Logits to calibrated probabilities."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from dicom_node.manifest import Calibration

DoubleArray = npt.NDArray[np.float64]


def calibrated_probabilities(logits: npt.ArrayLike, calibration: Calibration) -> DoubleArray:
    """Return the softmax of (N, classes) logits over the calibration's temperature (Guo et al. 2017)."""
    probabilities: DoubleArray = softmax(np.asarray(logits, dtype=np.float64) / calibration.temperature, axis=1)
    return probabilities
