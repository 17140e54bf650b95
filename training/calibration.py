"""Temperature and operating points, chosen on what the model said of its validation images."""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from ruamel.yaml import YAML
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from dicom_node.inference.calibration import calibrated_probabilities
from dicom_node.inference.definition import MANIFEST_FILE, BundleDefinition
from dicom_node.manifest import BundleManifest, Calibration, OperatingPoint, load_manifest
from training.metrics import DoubleArray, IntArray, recall, specificity
from training.training_run import ValidationLogits

SCREENING_RECALL = 0.98
RULE_IN_SPECIFICITY = 0.98
_DECIMALS = 4
_STEPS = 10_000


def calibrate_bundle(folder: Path, run: Path) -> BundleManifest:
    """Write temperature and operating points into the bundle's ``node.yaml``, leaving its comments alone."""
    definition = BundleDefinition.load(folder)
    said = ValidationLogits.load(run)
    calibration = Calibration(temperature=round(best_temperature(said), _DECIMALS))
    probabilities = calibrated_probabilities(said.logits, calibration)
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 120
    yaml.indent(mapping=2, sequence=4, offset=2)
    path = folder / MANIFEST_FILE
    document = yaml.load(path.read_text(encoding="utf-8"))
    _update(document.setdefault("calibration", {}), calibration.model_dump())
    for finding, entry in zip(definition.manifest.findings, document["findings"], strict=True):
        positive = [definition.manifest.classes.index(name) for name in finding.classes]
        truth = np.isin(said.labels, positive).astype(np.int64)
        points = choose_operating_points(truth, probabilities[:, positive].sum(axis=1), said.perturbed)
        chosen = {name: point.model_dump(exclude_none=True) for name, point in points.items()}
        _update(entry["operating_points"], chosen)
    with path.open("w", encoding="utf-8") as file:
        yaml.dump(document, file)
    return load_manifest(path)


def _update(document: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    """Set values in place: comments and blank lines hang on the entries that are there."""
    for key, value in values.items():
        if isinstance(value, Mapping) and key in document:
            _update(document[key], value)
        else:
            document[key] = value


def best_temperature(said: ValidationLogits) -> float:
    """Return the temperature under which the validation labels are most likely, every class weighing the same.

    The perturbed copies count too: on images unlike the training set the network is surer than it should be.
    """
    weights = 1.0 / np.bincount(said.labels)[said.labels]

    def loss(log_temperature: float) -> float:
        log_probabilities = log_softmax(said.logits / np.exp(log_temperature), axis=1)
        return -float(weights @ log_probabilities[np.arange(len(said.labels)), said.labels])

    return float(np.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded").x))


def choose_operating_points(
    truth: IntArray, scores: DoubleArray, perturbed: npt.NDArray[np.bool_]
) -> Mapping[str, OperatingPoint]:
    """Return the points ``screening``, ``balanced`` and ``rule_in`` for one finding.

    Screening keeps a recall of 0.98 and rule-in a specificity of 0.98, both on the images as they are and on
    the perturbed copies; balanced has the highest sum of the two (Youden 1950). Recall and specificity are
    recorded as measured on the images as they are.
    """
    kinds = [kind for kind in (~perturbed, perturbed) if kind.any()]
    screening = min(_threshold_for_recall(scores[kind & (truth == 1)]) for kind in kinds)
    rule_in = max(_threshold_for_specificity(scores[kind & (truth == 0)]) for kind in kinds)
    balanced = _youden([(truth[kind], scores[kind]) for kind in kinds])
    thresholds = {
        "screening": min(screening, balanced),
        "balanced": balanced,
        "rule_in": max(rule_in, balanced),
    }
    plain = ~perturbed
    return {name: _measured(value, truth[plain], scores[plain]) for name, value in thresholds.items()}


def _threshold_for_recall(positives: DoubleArray) -> float:
    allowed = int(len(positives) * (1 - SCREENING_RECALL))
    return math.floor(float(np.sort(positives)[allowed]) * _STEPS) / _STEPS


def _threshold_for_specificity(negatives: DoubleArray) -> float:
    allowed = int(len(negatives) * (1 - RULE_IN_SPECIFICITY))
    return (math.floor(float(np.sort(negatives)[-1 - allowed]) * _STEPS) + 1) / _STEPS


def _youden(parts: Sequence[tuple[IntArray, DoubleArray]]) -> float:
    """Return the threshold with the highest recall plus specificity, every part weighing the same."""
    candidates = np.linspace(0, 1, 1001)[1:-1]
    gains = np.zeros(len(candidates))
    for truth, scores in parts:
        calls = [(scores >= candidate).astype(np.int64) for candidate in candidates]
        gains += [recall(truth, called) + specificity(truth, called) for called in calls]
    best = np.flatnonzero(np.isclose(gains, gains.max()))
    # The middle of a plateau is farthest from both kinds of error.
    return round(float(candidates[best].mean()), _DECIMALS)


def _measured(threshold: float, truth: IntArray, scores: DoubleArray) -> OperatingPoint:
    called = (scores >= threshold).astype(np.int64)
    return OperatingPoint(
        threshold=round(min(threshold, 1.0), _DECIMALS),
        recall=round(recall(truth, called), 3),
        specificity=round(specificity(truth, called), 3),
    )
