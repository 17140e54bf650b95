import numpy as np
import pytest
from scipy.special import softmax

from training.calibration import best_temperature, choose_operating_points
from training.training_run import ValidationLogits


def _said(scale: float, count: int = 6000) -> ValidationLogits:
    """Logits that are ``scale`` times too sure of themselves."""
    random = np.random.default_rng(0)
    true_logits = random.normal(0, 2, (count, 2))
    labels = (random.random(count) < softmax(true_logits, axis=1)[:, 1]).astype(np.int64)
    return ValidationLogits(true_logits * scale, labels, np.array(["g"] * count), np.zeros(count, dtype=bool))


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_temperature_undoes_too_much_and_too_little_confidence(scale: float) -> None:
    assert best_temperature(_said(scale)) == pytest.approx(scale, rel=0.1)


def test_operating_points_keep_what_they_promise_and_their_order() -> None:
    random = np.random.default_rng(1)
    truth = np.repeat([0, 1], 2000)
    scores = 1 / (1 + np.exp(-random.normal(np.where(truth == 1, 2.0, -2.0), 1.5)))
    points = choose_operating_points(truth, scores, np.zeros(4000, dtype=bool))
    assert points["screening"].recall == pytest.approx(0.98, abs=0.005)
    assert points["rule_in"].specificity == pytest.approx(0.98, abs=0.005)
    assert points["screening"].threshold < points["balanced"].threshold < points["rule_in"].threshold
    assert points["balanced"].threshold == pytest.approx(0.5, abs=0.1)


def test_screening_holds_on_perturbed_copies_too() -> None:
    truth = np.ones(200, dtype=np.int64)
    truth[::2] = 0
    scores = np.where(truth == 1, 0.9, 0.1)
    perturbed = np.arange(200) >= 100
    scores[perturbed & (truth == 1)] = 0.3
    assert choose_operating_points(truth, scores, perturbed)["screening"].threshold <= 0.3
