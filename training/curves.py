"""The curves of an evaluation as points, few enough to be drawn in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from training.metrics import DoubleArray, IntArray

RELIABILITY_BINS = 10
_MOST_POINTS = 101

Points = list[tuple[float, ...]]


class ReliabilityBin(NamedTuple):
    """Images whose probability lies in one tenth: the mean of what was said, the share that is true, how many."""

    said: float
    share: float
    images: int


def curves(truth: IntArray, said: DoubleArray) -> dict[str, Points]:
    """ROC as (1 - specificity, recall), precision and recall as (recall, precision), and reliability; of both kinds.

    A finding that all images have, or none, has no curves.
    """
    if truth.min() == truth.max():
        return {}
    false_positives, true_positives, _ = roc_curve(truth, said)
    precision, recall, _ = precision_recall_curve(truth, said)
    return {
        "roc": _points(false_positives, true_positives),
        "precision_recall": _points(recall, precision),
        "reliability": [tuple(part) for part in reliability(truth, said)],
    }


def reliability(truth: IntArray, said: DoubleArray) -> list[ReliabilityBin]:
    """Compare what was said with what is true, in equally wide bins; empty ones are left out."""
    bins = np.minimum((said * RELIABILITY_BINS).astype(np.int64), RELIABILITY_BINS - 1)
    filled = [bins == index for index in np.flatnonzero(np.bincount(bins, minlength=RELIABILITY_BINS))]
    return [ReliabilityBin(float(said[at].mean()), float(truth[at].mean()), int(at.sum())) for at in filled]


def _points(x: DoubleArray, y: DoubleArray) -> Points:
    kept: Sequence[int] = np.unique(np.linspace(0, len(x) - 1, _MOST_POINTS).astype(np.int64)).tolist()
    return [(round(float(x[at]), 4), round(float(y[at]), 4)) for at in kept]
