"""The curves of an evaluation, as PNG files."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from sklearn.metrics import precision_recall_curve, roc_curve

from dicom_node.manifest import BundleManifest, FindingDefinition
from training import metrics
from training.curves import reliability
from training.metrics import DoubleArray, IntArray
from training.scores import Scores

_THRESHOLDS = np.linspace(0, 1, 201)


def draw_evaluation(manifest: BundleManifest, scores: Scores, folder: Path) -> list[Path]:
    """Draw the confusion matrix and, for each finding, ROC, precision-recall, reliability and threshold curves.

    A finding whose images all have it, or all have not, has no curves.

    Returns:
        The files: ``confusion_matrix.png`` and ``FINDING_{roc,precision_recall,reliability,thresholds}.png``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [draw_confusion_matrix(scores.confusion_matrix(), manifest.classes, folder / "confusion_matrix.png")]
    for finding in manifest.findings:
        truth, said = scores.of_finding(manifest, finding)
        if truth.min() == truth.max():
            continue
        for name, draw in _CURVES.items():
            path = folder / f"{re.sub(r'[^A-Za-z0-9]+', '_', finding.name)}_{name}.png"
            figure, axes = _figure(finding.label)
            draw(axes, finding, truth, said)
            figure.savefig(path)
            files.append(path)
    return files


def draw_confusion_matrix(counts: IntArray, classes: Sequence[str], path: Path) -> Path:
    """Draw counts (classes, classes): rows are the true class, columns the most probable one."""
    figure, axes = _figure("Confusion matrix")
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(len(classes)), classes, rotation=20, ha="right")
    axes.set_yticks(range(len(classes)), classes)
    axes.set_xlabel("most probable class")
    axes.set_ylabel("true class")
    for (row, column), count in np.ndenumerate(counts):
        colour = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, str(count), ha="center", va="center", color=colour)
    figure.savefig(path)
    return path


def _roc(axes: Axes, finding: FindingDefinition, truth: IntArray, said: DoubleArray) -> None:
    false_positives, true_positives, _ = roc_curve(truth, said)
    axes.plot(false_positives, true_positives, label=f"AUC {metrics.roc_auc(truth, said):.3f}")
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    for name, point in finding.operating_points.items():
        called = (said >= point.threshold).astype(np.int64)
        axes.plot(1 - metrics.specificity(truth, called), metrics.recall(truth, called), "o", label=name)
    axes.set_xlabel("1 - specificity")
    axes.set_ylabel("recall")
    axes.legend(loc="lower right")


def _precision_recall(axes: Axes, finding: FindingDefinition, truth: IntArray, said: DoubleArray) -> None:
    precision, recall, _ = precision_recall_curve(truth, said)
    axes.step(recall, precision, where="post", label=f"average precision {metrics.pr_auc(truth, said):.3f}")
    axes.axhline(float(truth.mean()), color="grey", linestyle=":", label="prevalence here")
    for name, point in finding.operating_points.items():
        called = (said >= point.threshold).astype(np.int64)
        axes.plot(metrics.recall(truth, called), metrics.precision(truth, called), "o", label=name)
    axes.set_xlabel("recall")
    axes.set_ylabel("precision")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="lower left")


def _reliability(axes: Axes, finding: FindingDefinition, truth: IntArray, said: DoubleArray) -> None:
    bins = reliability(truth, said)
    axes.plot([0, 1], [0, 1], color="grey", linestyle=":")
    axes.plot([one.said for one in bins], [one.share for one in bins], "o-")
    for one in bins:
        at = (one.said, one.share)
        axes.annotate(str(one.images), at, xytext=(4, -10), textcoords="offset points", fontsize=8)
    axes.set_xlabel("probability said (with the number of images)")
    axes.set_ylabel(f"share with {finding.label}")


def _thresholds(axes: Axes, finding: FindingDefinition, truth: IntArray, said: DoubleArray) -> None:
    calls = [(said >= threshold).astype(np.int64) for threshold in _THRESHOLDS]
    for name in ("recall", "specificity", "precision", "accuracy"):
        axes.plot(_THRESHOLDS, [getattr(metrics, name)(truth, called) for called in calls], label=name)
    for name, point in finding.operating_points.items():
        axes.axvline(point.threshold, color="grey", linestyle=":")
        axes.annotate(name, (point.threshold, 0.02), rotation=90, fontsize=8)
    axes.set_xlabel("threshold")
    axes.set_ylim(0, 1.02)
    axes.legend(loc="center")


_CURVES: dict[str, Callable[[Axes, FindingDefinition, IntArray, DoubleArray], None]] = {
    "roc": _roc,
    "precision_recall": _precision_recall,
    "reliability": _reliability,
    "thresholds": _thresholds,
}


def _figure(title: str) -> tuple[Figure, Axes]:
    """Give a figure on a canvas of its own, without pyplot: it needs no display and keeps no state."""
    figure = Figure(figsize=(5, 4.5), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title)
    return figure, axes
