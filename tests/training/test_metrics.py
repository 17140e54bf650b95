import numpy as np
import pytest
from sklearn.metrics import f1_score, roc_auc_score

from training import metrics
from training.metrics import bootstrap

TRUTH = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0, 0])
CALLED = np.array([1, 1, 1, 0, 1, 0, 0, 0, 0, 0])


def test_figures_of_a_known_table() -> None:
    assert metrics.recall(TRUTH, CALLED) == pytest.approx(3 / 4)
    assert metrics.specificity(TRUTH, CALLED) == pytest.approx(5 / 6)
    assert metrics.precision(TRUTH, CALLED) == pytest.approx(3 / 4)
    assert metrics.accuracy(TRUTH, CALLED) == pytest.approx(8 / 10)
    assert metrics.f1(TRUTH, CALLED) == pytest.approx(f1_score(TRUTH, CALLED))


def test_auc_with_ties_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    truth, scores = random.integers(0, 2, 300), random.integers(0, 10, 300) / 10
    assert metrics.roc_auc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))


def test_calibrated_probabilities_have_little_error_and_sure_ones_much() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1, 20000)
    correct = (random.random(20000) < confidence).astype(np.int64)
    assert metrics.expected_calibration_error(correct, confidence) < 0.015
    assert metrics.expected_calibration_error(correct, np.ones(20000)) == pytest.approx(0.25, abs=0.01)


def test_undefined_figures_are_not_numbers() -> None:
    none = np.zeros(3, dtype=np.int64)
    assert np.isnan(metrics.recall(none, none))
    assert np.isnan(metrics.precision(none, none))
    assert np.isnan(metrics.roc_auc(none, none.astype(float)))


def test_interval_of_a_share_is_about_binomial() -> None:
    correct = np.array([1] * 90 + [0] * 10)
    estimate = bootstrap(lambda at: float(correct[at].mean()), [str(i) for i in range(100)])
    assert estimate.value == pytest.approx(0.9)
    assert (estimate.low, estimate.high) == pytest.approx((0.84, 0.96), abs=0.02)


def test_images_of_one_patient_are_drawn_together() -> None:
    correct = np.array([1] * 50 + [0] * 50)
    groups = ["a"] * 50 + ["b"] * 50
    estimate = bootstrap(lambda at: float(correct[at].mean()), groups)
    assert (estimate.low, estimate.high) == (0.0, 1.0)
