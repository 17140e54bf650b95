"""A version that was trained here, as its page shows it: how far it is, and how it compares with the one in use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.domain import VersionState
from dicom_node.lifecycle.versions import OPEN, VersionFolders, read_progress
from dicom_node.web.charts import Chart, history_chart
from dicom_node.web.queries.models import Version

_OVERALL = {"roc_auc": "ROC AUC, over the classes", "accuracy": "Accuracy", "ece": "Calibration error (ECE)"}
_OF_FINDING = {"roc_auc": "ROC AUC", "brier": "Brier score"}
_AT_POINT = ("recall", "specificity")


@dataclass(frozen=True, slots=True)
class ComparedFigure:
    """One figure of both versions on the same test images; each has ``value``, ``low`` and ``high``."""

    label: str
    in_use: Mapping[str, Any] | None
    candidate: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class VersionView:
    """A version with its curves while it is trained, and its figures afterwards. ``done`` counts epochs of ``of``."""

    version: Version
    charts: tuple[Chart, ...]
    done: int
    of: int
    figures: tuple[ComparedFigure, ...]
    test_images: int
    has_files: bool

    @property
    def is_open(self) -> bool:
        """Whether it waits for its training, or is trained."""
        return self.version.state in OPEN

    @property
    def may_be_used(self) -> bool:
        """Whether it may be put to use."""
        return self.version.state in (VersionState.TRAINED, VersionState.PROMOTED)


def show_version(version: Version, model: str, versions_folder: Path) -> VersionView:
    """Put together what is known of a version."""
    folders = VersionFolders.of(versions_folder, version.id, model)
    progress = read_progress(folders) or {}
    fits = [fit for fit in progress.get("fits", []) if fit]
    all_fits = progress.get("fits", [])
    charts = tuple(history_chart(fit, f"fit {number} of {len(all_fits)}") for number, fit in enumerate(fits, start=1))
    comparison = version.comparison or {}
    return VersionView(
        version=version,
        charts=charts,
        done=sum(len(fit) for fit in fits),
        of=len(all_fits) * int(progress.get("epochs_of_each", 0)),
        figures=tuple(_figures(comparison)) if comparison else (),
        test_images=int(comparison["candidate"]["images"]) if comparison else 0,
        has_files=folders.root.is_dir(),
    )


def _figures(comparison: Mapping[str, Any]) -> list[ComparedFigure]:
    candidate, in_use = comparison["candidate"], comparison["in_use"]
    rows = [
        ComparedFigure(label, in_use["overall"].get(name), candidate["overall"].get(name))
        for name, label in _OVERALL.items()
    ]
    for finding, figures in candidate["findings"].items():
        former = in_use["findings"].get(finding, {})
        rows += [
            ComparedFigure(f"{finding}: {label}", former.get(name), figures.get(name))
            for name, label in _OF_FINDING.items()
        ]
        for point, at in figures["operating_points"].items():
            before = former.get("operating_points", {}).get(point, {})
            rows += [
                ComparedFigure(f"{finding}, {point.replace('_', ' ')}: {name}", before.get(name), at.get(name))
                for name in _AT_POINT
            ]
    return rows
