"""Calibrated class probabilities of every image of a stack."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from dicom_node.domain import FloatArray, ImageStack
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.calibration import calibrated_probabilities
from dicom_node.inference.definition import BundleError

DoubleArray = npt.NDArray[np.float64]

BATCH_SIZE = 32


def score_images(bundle: Bundle, stack: ImageStack) -> DoubleArray:
    """Return the calibrated class probabilities (S, classes) of the images, each by itself.

    Raises:
        NotApplicable: an image is none that the bundle's preprocessing takes.
        BundleError: the network's output does not fit the classes of the manifest.
    """
    logits = [_logits(bundle, batch) for batch in _batches(bundle, stack)]
    return calibrated_probabilities(np.concatenate(logits), bundle.manifest.calibration)


def _batches(bundle: Bundle, stack: ImageStack) -> Iterator[FloatArray]:
    """The prepared images (n, C, h, w); while the network runs on some, the next are prepared."""
    prepare = bundle.preprocessing

    def prepared(start: int) -> FloatArray:
        indices = range(start, min(start + BATCH_SIZE, len(stack.planes)))
        return np.stack([prepare(prepare.display_image(stack, index)).pixels for index in indices])

    starts = range(0, len(stack.planes), BATCH_SIZE)
    if len(starts) == 1:
        yield prepared(0)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="preprocessing") as ahead:
        coming = ahead.submit(prepared, 0)
        for start in (*starts[1:], None):
            batch = coming.result()
            if start is not None:
                coming = ahead.submit(prepared, start)
            yield batch


def _logits(bundle: Bundle, batch: FloatArray) -> FloatArray:
    logits = bundle.network.logits(batch)
    expected = (len(batch), len(bundle.manifest.classes))
    if logits.shape != expected:
        raise BundleError(f"{bundle.name}: the network gives {logits.shape} where node.yaml's classes need {expected}.")
    return logits
