"""Calibrated class probabilities of every image of a stack, and whether it is of the model's kind."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dicom_node.domain import FloatArray, ImageStack
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.calibration import calibrated_probabilities
from dicom_node.inference.definition import BundleError

DoubleArray = npt.NDArray[np.float64]

BATCH_SIZE = 32


@dataclass(frozen=True, slots=True, eq=False)
class ScoredImages:
    """Calibrated class probabilities (S, classes), and which images are of the model's kind, (S,)."""

    probabilities: DoubleArray
    of_kind: npt.NDArray[np.bool_]


def score_images(bundle: Bundle, stack: ImageStack) -> ScoredImages:
    """Score the images of a stack, each by itself.

    Raises:
        NotApplicable: an image is none that the bundle's preprocessing takes.
        BundleError: the network's output does not fit the classes of the manifest.
    """
    scored = [(_logits(bundle, batch), _of_kind(bundle, batch)) for batch in _batches(bundle, stack)]
    logits, of_kind = (np.concatenate(parts) for parts in zip(*scored, strict=True))
    return ScoredImages(calibrated_probabilities(logits, bundle.manifest.calibration), of_kind)


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


def _of_kind(bundle: Bundle, batch: FloatArray) -> npt.NDArray[np.bool_]:
    if bundle.gate is None:
        return np.ones(len(batch), dtype=np.bool_)
    return bundle.gate.of_kind(batch)
