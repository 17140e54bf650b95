"""One model as pages and API show it: its card, how it does, how it is run, and what it did lately."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from dicom_node.config import Config
from dicom_node.lifecycle.decisions import INSTALLED, read_deployments
from dicom_node.lifecycle.drift import Stability
from dicom_node.lifecycle.feedback import Agreement, agreement
from dicom_node.lifecycle.inputs import model_drift
from dicom_node.web.bundles import BundleView, view_bundle, view_bundles
from dicom_node.web.queries.models import (
    Activity,
    Change,
    ShadowComparison,
    Version,
    model_activity,
    model_changes,
    model_versions,
    read_last_day,
    shadow_comparison,
)


@dataclass(frozen=True, slots=True)
class OperatingPointChoice:
    """One threshold that a finding can be held against; ``measured`` holds figures with intervals on test images."""

    name: str
    threshold: float
    indeterminate_below: float | None
    in_use: bool
    measured: dict[str, Any]


@dataclass(frozen=True, slots=True)
class FindingCard:
    """One question that the model answers, with the thresholds to choose from."""

    name: str
    label: str
    operating_points: tuple[OperatingPointChoice, ...]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """A model in the list. ``problem`` says why it cannot read, empty where it can."""

    name: str
    title: str
    kind: str
    version: str
    installed_version: str
    enabled: bool
    problem: str
    findings: tuple[FindingCard, ...]
    read_last_day: int


@dataclass(frozen=True, slots=True)
class ModelDetail:
    """Everything about a model. ``version_id`` is of the version in use, 0 for the one installed with the node."""

    summary: ModelSummary
    intended_use: str
    not_intended_for: tuple[str, ...]
    data: tuple[str, ...]
    limits: tuple[str, ...]
    changelog: dict[str, str]
    version_id: int
    shadow_id: int | None
    activity: Activity
    agreement: tuple[Agreement, ...]
    drift: tuple[Stability, ...]
    versions: tuple[Version, ...]
    shadow: tuple[ShadowComparison, ...]
    history: tuple[Change, ...]


def list_models(session: Session, config: Config, at: datetime) -> list[ModelSummary]:
    """Every installed model, by name."""
    views = view_bundles(config, read_deployments(session, config.versions_folder))
    return [_summary(view, read_last_day(session, view.name, at)) for view in views]


def find_bundle(session: Session, config: Config, name: str) -> BundleView | None:
    """The bundle of that name as it is run, None where there is none."""
    return view_bundle(config, name, read_deployments(session, config.versions_folder))


def get_model(session: Session, view: BundleView, at: datetime) -> ModelDetail:
    """Everything about the model of this bundle."""
    metadata = {} if view.definition is None else view.definition.metadata
    activity = model_activity(session, view.name, at)
    deployment = view.deployment
    shadow_id = deployment.shadow.version_id if deployment.shadow else None
    return ModelDetail(
        summary=_summary(view, activity.read_last_day),
        intended_use=str(metadata.get("intended_use", "")),
        not_intended_for=tuple(map(str, metadata.get("not_intended_for", ()))),
        data=tuple(map(str, metadata.get("data", ()))),
        limits=tuple(map(str, metadata.get("limits", ()))),
        changelog={str(version): str(text) for version, text in metadata.get("changelog", {}).items()},
        version_id=version_in_use(view),
        shadow_id=shadow_id,
        activity=activity,
        agreement=tuple(agreement(session, view.name)),
        drift=tuple(model_drift(session, view.name, view.folder)),
        versions=tuple(model_versions(session, view.name)),
        shadow=tuple(shadow_comparison(session, shadow_id)) if shadow_id is not None else (),
        history=tuple(model_changes(session, view.name)),
    )


def version_in_use(view: BundleView) -> int:
    """The number of the version that reads, 0 for the one installed with the node."""
    folder = view.deployment.folder
    return int(folder.parents[1].name) if folder else INSTALLED


def _summary(view: BundleView, read_last_day: int) -> ModelSummary:
    manifest, definition = view.manifest, view.definition
    if manifest is None or definition is None:
        return ModelSummary(view.name, view.name, "", "", "", False, view.problem, (), read_last_day)
    evaluated = (view.evaluation or {}).get("findings", {})
    return ModelSummary(
        name=view.name,
        title=manifest.title,
        kind=manifest.kind.value,
        version=definition.version,
        installed_version=view.installed_version,
        enabled=manifest.enabled,
        problem="" if view.has_weights else "The bundle has no weights: it is a recipe, and cannot read.",
        findings=tuple(
            FindingCard(
                finding.name,
                finding.label,
                tuple(
                    OperatingPointChoice(
                        name,
                        point.threshold,
                        point.indeterminate_below,
                        name == finding.operating_point,
                        _measured(evaluated, finding.name, name, point.threshold),
                    )
                    for name, point in finding.operating_points.items()
                ),
            )
            for finding in manifest.findings
        ),
        read_last_day=read_last_day,
    )


def _measured(evaluated: Any, finding: str, point: str, threshold: float) -> dict[str, Any]:
    """The figures of an operating point; none where they were measured at another threshold."""
    try:
        figures = evaluated[finding]["operating_points"][point]
    except (KeyError, TypeError):
        return {}
    if figures.get("threshold") != threshold:
        return {}
    return {name: figure for name, figure in figures.items() if name != "threshold"}
