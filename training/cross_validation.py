"""Cross-validation: what a bundle's recipe gives on patients or scans that it has not seen, fold by fold and pooled."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dicom_node.domain import Evaluation
from dicom_node.inference.calibration import calibrated_probabilities
from dicom_node.inference.definition import BundleDefinition
from dicom_node.inference.operating_point import evaluate
from dicom_node.manifest import BundleManifest, Calibration, FindingDefinition, OperatingPoint
from training import metrics
from training.batches import PreparedImages
from training.calibration import best_temperature, choose_operating_points
from training.configuration import TrainingConfiguration, load_training_configuration
from training.evaluation import overall_estimates, overall_figures
from training.fitting import logits_of
from training.labelled_images import DataError, LabelledImage, find_labelled_images
from training.metrics import IntArray, bootstrap
from training.plots import draw_evaluation
from training.preparation import prepare
from training.scores import Scores
from training.splits import Split, group_folds, hold_out, leave_group_out
from training.training_run import TRAIN_FOLDER, ValidationLogits, fit_network, validation_logits

VALID_FOLDER = "valid"
MOST_GROUPS = 100
"""More fits than this are not left-one-out by anyone who means it: the groups are probably not known."""

_CALLED = {"accuracy": metrics.accuracy, "recall": metrics.recall, "specificity": metrics.specificity}

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Fold:
    """What the network of one fold says of the images that it was neither fitted to nor chosen by."""

    scores: Scores
    temperature: float
    points: Mapping[str, Mapping[str, OperatingPoint]]


def cross_validate(
    folder: Path, data: Path, device: torch.device, folds: int | None, plots: Path | None = None
) -> dict[str, Any]:
    """Fit the bundle's recipe once for each fold, and measure it on the fold.

    Within a fold, epoch, temperature and operating points are chosen on a part of the *other* folds, so that the
    fold itself decides nothing. The bundle's weights and ``node.yaml`` stay as they are.

    Args:
        folder: the bundle.
        data: holds ``train`` (and ``valid``, which is added to it; ``test`` is not touched), or a folder per class.
        device: to fit on.
        folds: stratified folds of whole groups; None leaves each group out in turn.
        plots: folder for the pooled curves.

    Returns:
        A JSON-ready report: ``folds`` with plain figures, ``pooled`` with 95 % intervals over groups.

    Raises:
        DataError: leaving groups out was asked for, and there are too many to be known patients or scans.
    """
    definition = BundleDefinition.load(folder)
    configuration = load_training_configuration(folder)
    images = _images(data, definition.manifest.classes, configuration)
    splits = _splits(images, folds, configuration.seed)
    prepared = prepare(images, definition.preprocessing())
    done: list[_Fold] = []
    for number, (rest, held_out) in enumerate(splits, start=1):
        _log.info("fold %d of %d: %d images to fit, %d held out", number, len(splits), len(rest), len(held_out))
        inner = hold_out(rest, configuration.validation.fraction, configuration.seed)
        train, valid, test = (PreparedImages.select(prepared, part) for part in (*inner, held_out))
        done.append(_fold(definition, configuration, (train, valid, test), device))
    pooled = _pool([fold.scores for fold in done])
    if plots is not None:
        draw_evaluation(definition.manifest, pooled, plots)
    return {
        "model": definition.name,
        "version": definition.version,
        "scheme": f"{folds} stratified folds of whole groups" if folds else "one group left out in turn",
        "images": len(images),
        "groups": len({image.group for image in images}),
        "folds": [_fold_report(definition.manifest, fold) for fold in done],
        "pooled": _pooled_report(definition.manifest, pooled, done),
    }


def _images(data: Path, classes: Sequence[str], configuration: TrainingConfiguration) -> list[LabelledImage]:
    if not (data / TRAIN_FOLDER).is_dir():
        return find_labelled_images(data, classes, configuration.class_folders)
    parts = [data / name for name in (TRAIN_FOLDER, VALID_FOLDER) if (data / name).is_dir()]
    return [image for part in parts for image in find_labelled_images(part, classes, configuration.class_folders)]


def _splits(images: Sequence[LabelledImage], folds: int | None, seed: int) -> list[Split]:
    if folds is not None:
        return group_folds(images, folds, seed)
    groups = len({image.group for image in images})
    if groups > MOST_GROUPS:
        raise DataError(
            f"{groups} groups among {len(images)} images are too many to leave each out in turn. Say in index.csv"
            " which patient or scan an image is of, or use --folds."
        )
    return leave_group_out(images)


def _fold(
    definition: BundleDefinition,
    configuration: TrainingConfiguration,
    parts: tuple[PreparedImages, PreparedImages, PreparedImages],
    device: torch.device,
) -> _Fold:
    train, valid, test = parts
    fitted = fit_network(definition, configuration, train, valid, device)
    said = validation_logits(fitted, configuration, valid, device)
    calibration = Calibration(temperature=best_temperature(said))
    probabilities = calibrated_probabilities(logits_of(fitted.network, test.tensors, device), calibration)
    scores = Scores(probabilities, test.labels.numpy(), test.groups)
    points = {
        finding.name: _points(definition.manifest, finding, said, calibration)
        for finding in definition.manifest.findings
    }
    return _Fold(scores, calibration.temperature, points)


def _points(
    manifest: BundleManifest, finding: FindingDefinition, said: ValidationLogits, calibration: Calibration
) -> Mapping[str, OperatingPoint]:
    scores = Scores(calibrated_probabilities(said.logits, calibration), said.labels, tuple(said.groups))
    truth, probability = scores.of_finding(manifest, finding)
    return choose_operating_points(truth, probability, said.perturbed)


def _pool(parts: Sequence[Scores]) -> Scores:
    return Scores(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.labels for part in parts]),
        tuple(group for part in parts for group in part.groups),
    )


def _called(manifest: BundleManifest, finding: FindingDefinition, fold: _Fold, point: OperatingPoint) -> IntArray:
    _, said = fold.scores.of_finding(manifest, finding)
    return np.array([evaluate(probability, point) is Evaluation.PRESENT for probability in said], dtype=np.int64)


def _fold_report(manifest: BundleManifest, fold: _Fold) -> dict[str, Any]:
    everything = np.arange(len(fold.scores.labels))
    findings: dict[str, Any] = {}
    for finding in manifest.findings:
        truth, said = fold.scores.of_finding(manifest, finding)
        findings[finding.name] = {"roc_auc": _number(metrics.roc_auc(truth, said)), "operating_points": {}}
        for name, point in fold.points[finding.name].items():
            called = _called(manifest, finding, fold, point)
            figures = {of: _number(metric(truth, called)) for of, metric in _CALLED.items()}
            findings[finding.name]["operating_points"][name] = {"threshold": point.threshold, **figures}
    return {
        "images": len(everything),
        "groups": sorted(set(fold.scores.groups))
        if len(set(fold.scores.groups)) <= 10
        else len(set(fold.scores.groups)),
        "temperature": fold.temperature,
        "overall": {name: _number(figure(everything)) for name, figure in overall_figures(fold.scores).items()},
        "findings": findings,
    }


def _pooled_report(manifest: BundleManifest, pooled: Scores, folds: Sequence[_Fold]) -> dict[str, Any]:
    """Estimate on all folds together; each image is called at the threshold that its own fold was given."""
    findings: dict[str, Any] = {}
    for finding in manifest.findings:
        truth, said = pooled.of_finding(manifest, finding)
        points: dict[str, Any] = {}
        for name in folds[0].points[finding.name]:
            parts = [_called(manifest, finding, fold, fold.points[finding.name][name]) for fold in folds]
            called = np.concatenate(parts)
            points[name] = {
                of: asdict(bootstrap(partial(_on, metric, truth, called), pooled.groups))
                for of, metric in _CALLED.items()
            }
        auc = bootstrap(partial(_on, metrics.roc_auc, truth, said), pooled.groups)
        findings[finding.name] = {"roc_auc": asdict(auc), "operating_points": points}
    return {
        "overall": overall_estimates(pooled),
        "confusion_matrix": pooled.confusion_matrix().tolist(),
        "findings": findings,
    }


def _on(metric: Callable[[IntArray, Any], float], truth: IntArray, said: Any, at: IntArray) -> float:
    return metric(truth[at], said[at])


def _number(value: float) -> float | None:
    """None where a figure is not defined: a scan of one class has no AUC, and JSON has no NaN."""
    return None if np.isnan(value) else float(value)
