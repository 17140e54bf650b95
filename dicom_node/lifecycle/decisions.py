"""What administrators decide of a model: operating point, on or off, which version reads; each is a line of history."""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.database import now
from dicom_node.domain import VersionState
from dicom_node.inference.deployment import Deployment, Shadow
from dicom_node.manifest import BundleManifest
from dicom_node.tables import ModelChangeRow, ModelSettingRow, ModelVersionRow

INSTALLED = 0
"""Stands for the version that was installed with the node, where a version is named by its number."""

_USABLE = (VersionState.TRAINED, VersionState.PROMOTED)


class NotPossible(Exception):
    """What was decided cannot be done; the text says why, in a sentence."""


def version_bundle(versions_folder: Path, version_id: int, model: str) -> Path:
    """The folder of the bundle of a version that was trained here; a bundle's name is its folder's."""
    return versions_folder / str(version_id) / "models" / model


def read_deployments(session: Session, versions_folder: Path) -> dict[str, Deployment]:
    """What has been decided, by model."""
    return {
        row.model: Deployment(
            enabled=row.enabled,
            operating_points=row.operating_points,
            folder=version_bundle(versions_folder, row.version_id, row.model) if row.version_id else None,
            shadow=Shadow(row.shadow_id, version_bundle(versions_folder, row.shadow_id, row.model))
            if row.shadow_id
            else None,
        )
        for row in session.scalars(sa.select(ModelSettingRow))
    }


def choose_operating_point(
    session: Session, model: str, manifest: BundleManifest, finding: str, point: str, by: str
) -> str:
    """Hold a finding against another of the bundle's operating points from now on; returns the line of history.

    Raises:
        NotPossible: the bundle has no such finding, or no such point for it.
    """
    definition = next((one for one in manifest.findings if one.name == finding), None)
    if definition is None:
        raise NotPossible(f"{model} has no finding named {finding}.")
    if point not in definition.operating_points:
        known = ", ".join(definition.operating_points)
        raise NotPossible(f"{definition.label} has no operating point named {point}; there are: {known}.")
    row = _setting(session, model)
    former = row.operating_points.get(finding, definition.operating_point)
    row.operating_points = row.operating_points | {finding: point}
    threshold = definition.operating_points[point].threshold
    text = f"{definition.label} is held against the operating point {point} ({threshold:g}); it was {former}."
    return record_change(session, model, by, text)


def switch(session: Session, model: str, by: str, *, on: bool) -> str:
    """Let a model read, or not; returns the line of history."""
    _setting(session, model).enabled = on
    text = "Switched on." if on else "Switched off: studies are no longer read by it."
    return record_change(session, model, by, text)


def put_to_use(session: Session, model: str, version_id: int, by: str) -> str:
    """Let a version read from now on, a trained one or, with ``INSTALLED``, the one installed; returns the line.

    Raises:
        NotPossible: there is no such version of this model, it is not trained, or it is in use already.
    """
    row = _setting(session, model)
    if (row.version_id or INSTALLED) == version_id:
        raise NotPossible("This version is in use already.")
    if version_id == INSTALLED:
        row.version_id = None
        return record_change(session, model, by, "The version that was installed with the node is in use again.")
    version = _usable(session, model, version_id)
    again = version.state is VersionState.PROMOTED
    version.state = VersionState.PROMOTED
    row.version_id = version_id
    if row.shadow_id == version_id:
        row.shadow_id = None
    return record_change(session, model, by, f"Version {version.version} is in use{' again' if again else ''}.")


def discard(session: Session, model: str, version_id: int, by: str) -> str:
    """Give a trained version up; returns the line of history.

    Raises:
        NotPossible: it is not one that waits for a decision, or it runs in shadow.
    """
    version = _usable(session, model, version_id)
    if version.state is not VersionState.TRAINED:
        raise NotPossible(f"Version {version.version} is {version.state.value}; it stays, to be used again.")
    if _setting(session, model).shadow_id == version_id:
        raise NotPossible(f"Version {version.version} runs in shadow; end that first.")
    version.state = VersionState.DISCARDED
    return record_change(session, model, by, f"Version {version.version} was discarded.")


def run_in_shadow(session: Session, model: str, version_id: int | None, by: str) -> str:
    """Let a version read beside the one in use, or with None no longer; returns the line of history.

    Raises:
        NotPossible: there is no such version of this model, it is not trained, or it is in use.
    """
    row = _setting(session, model)
    if version_id is None:
        if row.shadow_id is None:
            raise NotPossible("No version runs in shadow.")
        row.shadow_id = None
        return record_change(session, model, by, "No version runs in shadow any more.")
    version = _usable(session, model, version_id)
    if row.version_id == version_id:
        raise NotPossible("This version is in use already.")
    row.shadow_id = version_id
    text = f"Version {version.version} runs in shadow: its results are kept, not sent."
    return record_change(session, model, by, text)


def _setting(session: Session, model: str) -> ModelSettingRow:
    row = session.get(ModelSettingRow, model, with_for_update=True)
    if row is None:
        row = ModelSettingRow(model=model, operating_points={})
        session.add(row)
    return row


def _usable(session: Session, model: str, version_id: int) -> ModelVersionRow:
    version = session.get(ModelVersionRow, version_id, with_for_update=True)
    if version is None or version.model != model:
        raise NotPossible(f"{model} has no version with the number {version_id}.")
    if version.state not in _USABLE:
        raise NotPossible(f"Version {version.version} is {version.state.value}: it cannot be used.")
    return version


def record_change(session: Session, model: str, by: str, text: str) -> str:
    """Add a line to a model's history; returns it."""
    session.add(ModelChangeRow(model=model, at=now(), by=by, text=text))
    return text
