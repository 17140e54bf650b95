"""What is drawn on the pages of models: plain specifications, which ``charts.js`` hands to the chart library."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from dicom_node.web.bundles import BundleView
from dicom_node.web.queries.models import Activity

Chart = dict[str, Any]
"""``title``, ``x`` and ``y`` (axis titles), ``series`` of ``label`` and ``points`` [[x, y], ...], and a table.

A series may be ``dots`` only, or ``quiet``: a line for comparison. ``labels`` name the places of a bar chart.
``unit`` says that both axes run from 0 to 1.
"""

_DIAGONAL = {"label": "chance", "points": [[0, 0], [1, 1]], "quiet": True}
_IDEAL = {"label": "ideal", "points": [[0, 0], [1, 1]], "quiet": True}


def model_charts(bundle: BundleView, activity: Activity) -> dict[str, Chart | list[Chart]]:
    """The charts of a model's page, as far as its bundle and its records tell."""
    charts: dict[str, Chart | list[Chart]] = {"findings": finding_charts(bundle)}
    if bundle.training:
        charts["history"] = [
            history_chart(epochs, f"fit {number} of {len(bundle.training['fits'])}")
            for number, epochs in enumerate(bundle.training["fits"], start=1)
        ]
        charts["classes"] = class_chart({"training": bundle.training["images_per_class"], **_test_classes(bundle)})
    elif bundle.evaluation:
        charts["classes"] = class_chart(_test_classes(bundle))
    if activity.days:
        charts["positive"] = positive_chart(activity)
        charts["throughput"] = throughput_chart(activity)
    return charts


def finding_charts(bundle: BundleView) -> list[Chart]:
    """ROC and reliability of each finding, where the bundle holds the curves of its evaluation."""
    if bundle.evaluation is None or bundle.curves is None or bundle.manifest is None:
        return []
    if bundle.curves.get("weights_digest") != bundle.evaluation.get("weights_digest"):
        return []
    found = []
    for finding in bundle.manifest.findings:
        figures = bundle.evaluation["findings"].get(finding.name, {})
        curves = bundle.curves["findings"].get(finding.name, {})
        if "roc" in curves:
            points = [
                {"label": name, "points": [[1 - at["specificity"]["value"], at["recall"]["value"]]], "dots": True}
                for name, at in figures["operating_points"].items()
                if at["specificity"]["value"] is not None and at["recall"]["value"] is not None
            ]
            auc = figures["roc_auc"]["value"]
            found.append(
                {
                    "title": f"{finding.label}: ROC",
                    "x": "1 - specificity",
                    "y": "recall",
                    "unit": True,
                    "series": [{"label": f"AUC {auc:.3f}", "points": curves["roc"]}, *points, _DIAGONAL],
                }
            )
        if "reliability" in curves:
            found.append(
                {
                    "title": f"{finding.label}: reliability",
                    "x": "probability said",
                    "y": "share that has it",
                    "unit": True,
                    "series": [
                        {"label": "images", "points": [[said, share] for said, share, _ in curves["reliability"]]},
                        _IDEAL,
                    ],
                    "columns": ["probability said", "share that has it", "images"],
                    "rows": [[f"{said:.3f}", f"{share:.3f}", count] for said, share, count in curves["reliability"]],
                }
            )
    return found


def history_chart(epochs: Sequence[Mapping[str, Any]], title: str) -> Chart:
    """Loss of training and validation, and validation AUC, over the epochs of a fit."""
    names = {"training_loss": "training loss", "validation_loss": "validation loss", "validation_auc": "validation AUC"}
    return {
        "title": f"Training, {title}",
        "x": "epoch",
        "y": "",
        "series": [
            {"label": label, "points": [[epoch["number"], epoch[key]] for epoch in epochs]}
            for key, label in names.items()
            if all(epoch.get(key) is not None for epoch in epochs)
        ],
        "columns": ["epoch", *names.values()],
        "rows": [[epoch["number"], *(_figure(epoch.get(key)) for key in names)] for epoch in epochs],
    }


def class_chart(counts: Mapping[str, Mapping[str, int]]) -> Chart:
    """How many images of each class there are, by part of the data."""
    classes = list(dict.fromkeys(name for part in counts.values() for name in part))
    return {
        "title": "Images by class",
        "x": "",
        "y": "images",
        "labels": classes,
        "series": [
            {"label": part, "points": [images.get(name, 0) for name in classes]} for part, images in counts.items()
        ],
        "columns": ["class", *counts],
        "rows": [[name, *(part.get(name, 0) for part in counts.values())] for name in classes],
    }


def positive_chart(activity: Activity) -> Chart:
    """The share of each finding that was said to be present, day by day."""
    days = list(dict.fromkeys(day.day for day in activity.days))
    by_finding: dict[str, dict[str, float]] = defaultdict(dict)
    for day in activity.days:
        by_finding[day.finding][day.day] = day.present / day.asked
    return {
        "title": "Share said to be present, by day",
        "x": "",
        "y": "share",
        "labels": days,
        "share": True,
        "series": [{"label": name, "points": _in_order(days, shares)} for name, shares in by_finding.items()],
        "columns": ["day (UTC)", "finding", "present", "of"],
        "rows": [[day.day, day.finding, day.present, day.asked] for day in activity.days],
    }


def throughput_chart(activity: Activity) -> Chart:
    """How much was read, day by day; every reading answers all findings, so that one of them counts."""
    read: dict[str, int] = defaultdict(int)
    for day in activity.days:
        read[day.day] = max(read[day.day], day.asked)
    return {
        "title": "Read, by day",
        "x": "",
        "y": "series",
        "labels": list(read),
        "series": [{"label": "series", "points": list(read.values())}],
        "columns": ["day (UTC)", "series"],
        "rows": [[day, count] for day, count in read.items()],
    }


def _test_classes(bundle: BundleView) -> dict[str, Mapping[str, int]]:
    return {"test": bundle.evaluation["images_per_class"]} if bundle.evaluation else {}


def _in_order(days: Iterable[str], shares: Mapping[str, float]) -> list[float | None]:
    return [shares.get(day) for day in days]


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
