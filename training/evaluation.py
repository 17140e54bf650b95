"""Scores a bundle on labelled images through the node's own reading, and what the figures are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from dicom_node.domain import Evaluation
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.operating_point import evaluate
from dicom_node.inference.reader import ModelReader
from dicom_node.manifest import BundleManifest, FindingDefinition, OperatingPoint
from training import metrics
from training.configuration import load_training_configuration
from training.curves import curves
from training.labelled_images import LabelledImage, find_labelled_images
from training.metrics import DoubleArray, IntArray, bootstrap
from training.plots import draw_evaluation
from training.scores import Scores

MOST_LISTED = 100
"""More groups than this are not looked through one by one, or are images of which no patient is known."""


def evaluate_bundle(
    folder: Path, data: Path, backend: Backend, by_group: bool, plots: Path | None = None
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Evaluate the bundle, even one that is switched off, on a folder per class; draw the curves into ``plots``.

    Returns:
        Two JSON-ready reports: the figures, of which every one has ``value``, ``low`` and ``high`` (95 % interval), and
        the points of the curves of each finding.
    """
    bundle = Bundle.load(folder, backend, even_if_disabled=True)
    configuration = load_training_configuration(folder)
    images = find_labelled_images(data, bundle.manifest.classes, configuration.class_folders)
    scores = _score(ModelReader(bundle), images)
    if plots is not None:
        draw_evaluation(bundle.manifest, scores, plots)
    return report(bundle, scores, by_group), points(bundle, scores)


def points(bundle: Bundle, scores: Scores) -> dict[str, Any]:
    """Put the curves together."""
    manifest = bundle.manifest
    return {
        "weights_digest": bundle.identity.weights_digest,
        "findings": {finding.name: curves(*scores.of_finding(manifest, finding)) for finding in manifest.findings},
    }


def report(bundle: Bundle, scores: Scores, by_group: bool) -> dict[str, Any]:
    """Put the figures together."""
    manifest = bundle.manifest
    counts = np.bincount(scores.labels, minlength=len(manifest.classes))
    content: dict[str, Any] = {
        "model": bundle.name,
        "version": bundle.version,
        "weights_digest": bundle.identity.weights_digest,
        "images": len(scores.labels),
        "groups": len(set(scores.groups)),
        "images_per_class": dict(zip(manifest.classes, counts.tolist(), strict=True)),
        "overall": overall_estimates(scores),
        "confusion_matrix": scores.confusion_matrix().tolist(),
        "findings": {finding.name: _finding(manifest, finding, scores) for finding in manifest.findings},
    }
    if by_group and content["groups"] <= MOST_LISTED:
        content["by_group"] = {finding.name: _groups(manifest, finding, scores) for finding in manifest.findings}
    return content


def _score(reader: ModelReader, images: Sequence[LabelledImage]) -> Scores:
    classes = reader.bundle.manifest.classes
    rows = []
    for image in tqdm(images, desc="reading", unit="image", mininterval=5, file=sys.stderr):
        said = reader.class_probabilities(read_plain_image(image.path), of_any_kind=True)
        rows.append([said[name] for name in classes])
    labels = np.array([image.label for image in images], dtype=np.int64)
    return Scores(np.array(rows), labels, tuple(image.group for image in images))


def overall_estimates(scores: Scores) -> dict[str, Any]:
    """Estimate every one of the overall figures."""
    return {name: asdict(bootstrap(figure, scores.groups)) for name, figure in overall_figures(scores).items()}


def overall_figures(scores: Scores) -> Mapping[str, Callable[[IntArray], float]]:
    """Return what measures the most probable class, on the images at given indices.

    Figures of one class against the rest are averaged over the classes.
    """
    chosen = scores.probabilities.argmax(axis=1)
    confidence = scores.probabilities.max(axis=1)
    correct = (chosen == scores.labels).astype(np.int64)
    one_hot = np.eye(scores.probabilities.shape[1])[scores.labels]

    def average(metric: Callable[[IntArray, IntArray], float]) -> Callable[[IntArray], float]:
        return lambda at: _mean_over_classes(metric, scores.labels[at], chosen[at])

    def average_ranked(metric: metrics.Metric) -> Callable[[IntArray], float]:
        return lambda at: _mean_ranked(metric, scores.labels[at], scores.probabilities[at])

    return {
        "accuracy": lambda at: float(correct[at].mean()),
        "precision": average(metrics.precision),
        "recall": average(metrics.recall),
        "specificity": average(metrics.specificity),
        "f1": average(metrics.f1),
        "roc_auc": average_ranked(metrics.roc_auc),
        "pr_auc": average_ranked(metrics.pr_auc),
        "brier": lambda at: float(((scores.probabilities[at] - one_hot[at]) ** 2).sum(axis=1).mean()),
        "ece": lambda at: metrics.expected_calibration_error(correct[at], confidence[at]),
    }


def _finding(manifest: BundleManifest, finding: FindingDefinition, scores: Scores) -> dict[str, Any]:
    truth, said = scores.of_finding(manifest, finding)
    ranked: Mapping[str, metrics.Metric] = {
        "roc_auc": metrics.roc_auc,
        "pr_auc": metrics.pr_auc,
        "brier": metrics.brier,
        "ece": _binary_ece,
    }
    content: dict[str, Any] = {
        name: asdict(bootstrap(partial(_on, metric, truth, said), scores.groups)) for name, metric in ranked.items()
    }
    content["operating_points"] = {
        name: {"threshold": point.threshold, **_at_point(point, truth, said, scores.groups)}
        for name, point in finding.operating_points.items()
    }
    return content


def _at_point(point: OperatingPoint, truth: IntArray, said: DoubleArray, groups: Sequence[str]) -> dict[str, Any]:
    called = np.array([evaluate(probability, point) is Evaluation.PRESENT for probability in said], dtype=np.int64)
    figures = {
        "accuracy": metrics.accuracy,
        "precision": metrics.precision,
        "recall": metrics.recall,
        "specificity": metrics.specificity,
        "f1": metrics.f1,
    }
    return {name: asdict(bootstrap(partial(_on, figure, truth, called), groups)) for name, figure in figures.items()}


def _groups(manifest: BundleManifest, finding: FindingDefinition, scores: Scores) -> list[dict[str, Any]]:
    """Say of each patient or scan how many of its images are called at the chosen operating point."""
    truth, said = scores.of_finding(manifest, finding)
    point = finding.operating_points[finding.operating_point]
    rows = []
    for group in sorted(set(scores.groups)):
        members = np.array([of == group for of in scores.groups])
        called = [evaluate(probability, point) is Evaluation.PRESENT for probability in said[members]]
        rows.append(
            {
                "group": group,
                "images": int(members.sum()),
                "positive": bool(truth[members].any()),
                "mean_probability": float(said[members].mean()),
                "called": float(np.mean(called)),
            }
        )
    return rows


def _on(metric: Callable[[IntArray, Any], float], truth: IntArray, said: DoubleArray | IntArray, at: IntArray) -> float:
    """Measure on the images at these indices."""
    return metric(truth[at], said[at])


def _binary_ece(truth: IntArray, probability: DoubleArray) -> float:
    positive = probability >= 0.5
    return metrics.expected_calibration_error(
        (truth == positive).astype(np.int64), np.where(positive, probability, 1 - probability)
    )


def _mean_over_classes(metric: Callable[[IntArray, IntArray], float], labels: IntArray, chosen: IntArray) -> float:
    values = [metric((labels == c).astype(np.int64), (chosen == c).astype(np.int64)) for c in np.unique(labels)]
    return _mean_of_defined(values)


def _mean_ranked(metric: metrics.Metric, labels: IntArray, probabilities: DoubleArray) -> float:
    values = [metric((labels == c).astype(np.int64), probabilities[:, c]) for c in np.unique(labels)]
    return _mean_of_defined(values)


def _mean_of_defined(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
