"""Whether two backends say the same of labelled test images: their probabilities, and every decision made on them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_node.domain import FloatArray
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.calibration import calibrated_probabilities
from dicom_node.inference.operating_point import evaluate
from dicom_node.manifest import BundleManifest

_BATCH = 32
_SUFFIXES = (".png", ".jpg", ".jpeg")


@dataclass(frozen=True, slots=True)
class Comparison:
    """``decisions`` are, for each image, the most probable class and each finding at each operating point."""

    images: int
    greatest_difference: float
    decisions: int
    decisions_changed: int


def compare(reference: Bundle, other: Bundle, data: Path) -> Comparison:
    """Compare calibrated probabilities and decisions on all PNG and JPEG images below ``data``."""
    paths = sorted(path for path in data.rglob("*") if path.suffix.lower() in _SUFFIXES)
    difference, decisions, changed = 0.0, 0, 0
    for start in range(0, len(paths), _BATCH):
        batch = _prepared(reference, paths[start : start + _BATCH])
        one, two = (
            calibrated_probabilities(bundle.network.logits(batch), bundle.manifest.calibration)
            for bundle in (reference, other)
        )
        difference = max(difference, float(np.abs(one - two).max()))
        for left, right in zip(one, two, strict=True):
            pairs = list(zip(_decisions(reference.manifest, left), _decisions(other.manifest, right), strict=True))
            decisions += len(pairs)
            changed += sum(a != b for a, b in pairs)
    return Comparison(len(paths), difference, decisions, changed)


def _prepared(bundle: Bundle, paths: list[Path]) -> FloatArray:
    prepare = bundle.preprocessing
    return np.stack([prepare(prepare.display_image(read_plain_image(path), 0)).pixels for path in paths])


def _decisions(manifest: BundleManifest, probabilities: npt.NDArray[np.float64]) -> list[object]:
    said: list[object] = [int(probabilities.argmax())]
    for finding in manifest.findings:
        probability = float(probabilities[manifest.class_indices(finding)].sum())
        said += [evaluate(probability, point) for point in finding.operating_points.values()]
    return said
