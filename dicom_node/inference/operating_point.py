"""Holds a probability against an operating point."""

from __future__ import annotations

from dicom_node.domain import Evaluation
from dicom_node.manifest import OperatingPoint


def evaluate(probability: float, point: OperatingPoint) -> Evaluation:
    """Say whether the finding is present, absent, or neither surely."""
    if probability >= point.threshold:
        return Evaluation.PRESENT
    if point.indeterminate_below is not None and probability >= point.indeterminate_below:
        return Evaluation.INDETERMINATE
    return Evaluation.ABSENT
