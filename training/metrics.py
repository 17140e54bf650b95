"""Figures of merit, each with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

DoubleArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Metric = Callable[[IntArray, DoubleArray], float]

RESAMPLES = 1000
CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % interval (percentile bootstrap)."""

    value: float
    low: float
    high: float


def roc_auc(truth: IntArray, scores: DoubleArray) -> float:
    """Probability that a positive scores higher than a negative (Mann-Whitney); NaN where one kind is missing."""
    positive, negative = np.sort(scores[truth == 1]), np.sort(scores[truth == 0])
    if not len(positive) or not len(negative):
        return float("nan")
    below = np.searchsorted(negative, positive, side="left") + np.searchsorted(negative, positive, side="right")
    return float(below.sum() / (2 * len(positive) * len(negative)))


def pr_auc(truth: IntArray, scores: DoubleArray) -> float:
    """Average precision; NaN without positives."""
    return float(average_precision_score(truth, scores)) if truth.any() else float("nan")


def brier(truth: IntArray, scores: DoubleArray) -> float:
    """Mean squared error of the probability."""
    return float(np.mean((scores - truth) ** 2))


def expected_calibration_error(correct: IntArray, confidence: DoubleArray) -> float:
    """Mean distance of confidence and accuracy over equally wide bins (Guo et al. 2017)."""
    bins = np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, confidence - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / len(confidence))


def recall(truth: IntArray, called: IntArray) -> float:
    """Share of the positives that are called; NaN without positives."""
    return _share(called[truth == 1] == 1)


def specificity(truth: IntArray, called: IntArray) -> float:
    """Share of the negatives that are not called; NaN without negatives."""
    return _share(called[truth == 0] == 0)


def precision(truth: IntArray, called: IntArray) -> float:
    """Share of the called that are positive; NaN where nothing is called."""
    return _share(truth[called == 1] == 1)


def accuracy(truth: IntArray, called: IntArray) -> float:
    """Share of right answers."""
    return _share(truth == called)


def f1(truth: IntArray, called: IntArray) -> float:
    """Harmonic mean of precision and recall; 0 where nothing is right."""
    hits = int(np.sum((truth == 1) & (called == 1)))
    return 2 * hits / max(1, int(truth.sum() + called.sum()))


def bootstrap(metric: Callable[[IntArray], float], groups: Sequence[str], seed: int = 0) -> Estimate:
    """Estimate a figure and its interval; images of one group are drawn together.

    Args:
        metric: the figure for the images at these indices; NaN where it is not defined for them.
        groups: the patient or scan of each image.
        seed: of the resampling.
    """
    _, members = np.unique(np.asarray(groups), return_inverse=True)
    by_group = [np.flatnonzero(members == group) for group in range(members.max() + 1)]
    random = np.random.default_rng(seed)
    values = []
    for _ in range(RESAMPLES):
        drawn = random.integers(0, len(by_group), len(by_group))
        values.append(metric(np.concatenate([by_group[group] for group in drawn])))
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Estimate(metric(np.arange(len(members))), float(low), float(high))


def _share(right: npt.NDArray[np.bool_]) -> float:
    return float(right.mean()) if len(right) else float("nan")
