"""Versions that are trained on the node's own data: asked for, prepared, followed, concluded."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.database import now
from dicom_node.domain import VersionState
from dicom_node.inference.definition import METADATA_FILE, WEIGHTS_FILE
from dicom_node.lifecycle.decisions import INSTALLED, NotPossible, record_change, version_bundle
from dicom_node.tables import LabelledDataRow, ModelSettingRow, ModelVersionRow

TRAINING_FILE = Path("configs/train.json")
OPEN = (VersionState.REQUESTED, VersionState.TRAINING)
_LEFT_BEHIND = ("docs", "*.onnx", "export.json")
_LEARNS_SLOWER = 0.25


@dataclass(frozen=True, slots=True)
class VersionFolders:
    """Where the files of a version lie."""

    root: Path
    model: str

    @classmethod
    def of(cls, versions_folder: Path, version_id: int, model: str) -> VersionFolders:
        """Those of the version with this number."""
        return cls(versions_folder / str(version_id), model)

    def remove(self) -> None:
        """Remove all of it; what a crash leaves is removed by asking again."""
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def models(self) -> Path:
        """The folder of its bundle's folder."""
        return self.root / "models"

    @property
    def bundle(self) -> Path:
        """Its bundle."""
        return self.models / self.model

    @property
    def former(self) -> Path:
        """The folder of a copy of the bundle that was in use when it was asked for."""
        return self.root / "former"

    @property
    def log(self) -> Path:
        """What training said."""
        return self.root / "log.txt"

    @property
    def progress(self) -> Path:
        """How far it is (``training/progress.py``)."""
        return self.root / "runs" / self.model / "progress.json"

    @property
    def in_use(self) -> Path:
        """The evaluation of the version in use, on the same test images."""
        return self.root / "in_use.json"


def request_version(
    session: Session, model: str, base_version: str, by: str, *, data: Sequence[int] = (), epochs: int | None = None
) -> ModelVersionRow:
    """Ask for a version to be trained; a worker begins it.

    Raises:
        NotPossible: there are no labelled data, or one is trained already.
    """
    held = session.scalars(sa.select(LabelledDataRow.id).where(LabelledDataRow.model == model)).all()
    chosen = sorted(data) if data else sorted(held)
    if not held:
        raise NotPossible(f"There are no labelled images for {model}: upload some first.")
    if unknown := sorted(set(chosen) - set(held)):
        raise NotPossible(f"{model} has no labelled data with the number {unknown[0]}.")
    query = sa.select(ModelVersionRow).where(ModelVersionRow.model == model, ModelVersionRow.state.in_(OPEN))
    if (under_way := session.scalars(query).first()) is not None:
        raise NotPossible(
            f"Version {under_way.version} of {model} is being trained already; wait for it, or cancel it."
        )
    count = session.scalar(
        sa.select(sa.func.count()).select_from(ModelVersionRow).where(ModelVersionRow.model == model)
    )
    row = ModelVersionRow(
        model=model,
        version=f"{base_version.partition('+')[0]}+site.{(count or 0) + 1}",
        base_version=base_version,
        state=VersionState.REQUESTED,
        epochs=epochs,
        data=list(chosen),
        requested_by=by,
        requested_at=now(),
    )
    session.add(row)
    session.flush()
    images = "1 data set" if len(chosen) == 1 else f"{len(chosen)} data sets"
    record_change(
        session, model, by, f"Training of version {row.version} was asked for, from {base_version}, on {images}."
    )
    return row


def cancel_version(session: Session, model: str, version_id: int, by: str) -> str:
    """Ask a training to stop; returns the line of history.

    Raises:
        NotPossible: there is no such version of this model, or it is not being trained.
    """
    row = session.get(ModelVersionRow, version_id, with_for_update=True)
    if row is None or row.model != model:
        raise NotPossible(f"{model} has no version with the number {version_id}.")
    if row.state not in OPEN:
        raise NotPossible(f"Version {row.version} is {row.state.value}: there is nothing to cancel.")
    row.cancel_requested_at = row.cancel_requested_at or now()
    return record_change(session, model, by, f"Training of version {row.version} was cancelled.")


def delete_version(session: Session, model: str, version_id: int, by: str, reason: str) -> str:
    """Give a version's files up; its row stays, with what was said of it. Returns the line of history.

    The caller removes the files once this is committed: ``VersionFolders.remove``.

    Raises:
        NotPossible: there is no such version of this model, or it is in use, in shadow, or being trained.
    """
    if version_id == INSTALLED:
        raise NotPossible("The version that was installed with the node stays: there is always one to go back to.")
    row = session.get(ModelVersionRow, version_id, with_for_update=True)
    if row is None or row.model != model:
        raise NotPossible(f"{model} has no version with the number {version_id}.")
    if row.state in OPEN:
        raise NotPossible(f"Version {row.version} is being trained; cancel that first.")
    setting = session.get(ModelSettingRow, model, with_for_update=True)
    if setting is not None and setting.version_id == version_id:
        raise NotPossible(f"Version {row.version} is in use; let another one read first.")
    if setting is not None and setting.shadow_id == version_id:
        raise NotPossible(f"Version {row.version} runs in shadow; end that first.")
    row.state, row.reason = VersionState.DELETED, f"Deleted by {by}: {reason}"
    return record_change(session, model, by, f"Version {row.version} was deleted: {reason}")


def requested_versions(session: Session) -> list[int]:
    """The versions that no worker has begun yet, by number."""
    query = sa.select(ModelVersionRow.id).where(ModelVersionRow.state == VersionState.REQUESTED)
    return list(session.scalars(query.order_by(ModelVersionRow.id)))


def prepare_bundle(base: Path, folders: VersionFolders, version: str, told: str, epochs: int | None) -> None:
    """Copy the bundle to start from, as a new version whose training starts from its weights; safe to repeat.

    The folder is complete once it has its name.
    """
    if folders.bundle.is_dir():
        return
    shutil.rmtree(folders.former, ignore_errors=True)
    shutil.copytree(base, folders.former / folders.model)
    draft = folders.root / "draft" / folders.model
    shutil.rmtree(draft.parent, ignore_errors=True)
    shutil.copytree(base, draft, ignore=shutil.ignore_patterns(*_LEFT_BEHIND))
    start = folders.root / "start.pt"
    shutil.copyfile(base / WEIGHTS_FILE, start)
    _edit(draft / METADATA_FILE, lambda metadata: _as_version(metadata, version, told))
    _edit(draft / TRAINING_FILE, lambda training: _from_weights(training, start, epochs))
    folders.models.mkdir(parents=True, exist_ok=True)
    draft.replace(folders.bundle)
    draft.parent.rmdir()


def read_progress(folders: VersionFolders) -> dict[str, Any] | None:
    """How far the training is; None before its first epoch."""
    try:
        content = json.loads(folders.progress.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def newest_progress(versions_folder: Path) -> int:
    """When a training last wrote down how far it is, in nanoseconds; 0 where none has."""
    files = versions_folder.glob("*/runs/*/progress.json")
    return max((path.stat().st_mtime_ns for path in files), default=0)


def compare(candidate: Path, in_use: Path) -> dict[str, Any]:
    """The evaluations of both, as they stand on the page: overall figures, and each finding at its point in use."""
    return {
        "candidate": json.loads(candidate.read_text(encoding="utf-8")),
        "in_use": json.loads(in_use.read_text(encoding="utf-8")),
    }


def make_durable(folder: Path) -> None:
    """Write a bundle's files through to the disk before a row says that they are there."""
    for path in sorted(folder.rglob("*"), reverse=True):
        _sync(path)
    _sync(folder)


def base_bundle(versions_folder: Path, installed: Path, version_id: int | None, model: str) -> Path:
    """The bundle that is in use."""
    return installed if version_id is None else version_bundle(versions_folder, version_id, model)


def _as_version(metadata: dict[str, Any], version: str, told: str) -> dict[str, Any]:
    return metadata | {
        "version": version,
        "changelog": {version: told, **metadata.get("changelog", {})},
        "data": [*metadata.get("data", []), told],
    }


def _from_weights(training: dict[str, Any], weights: Path, epochs: int | None) -> dict[str, Any]:
    """Start from these weights, which then learn slower than what is new, rather than from those of the recipe."""
    before: Mapping[str, Any] = training.get("transfer") or {}
    kept = {name: before[name] for name in ("frozen_epochs", "frozen_layers") if name in before}
    transfer = {"checkpoint": str(weights), "learning_rate_factor": _LEARNS_SLOWER, **kept}
    return training | {"transfer": transfer} | ({"epochs": epochs} if epochs else {})


def _edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(change(content), indent=2) + "\n", encoding="utf-8")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
