"""The durable workflow of a new version of a model: data collected, trained, calibrated, compared; an admin decides."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from dbos import DBOS, DBOSConfiguredInstance, Queue, SetWorkflowID

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import VersionState
from dicom_node.inference.definition import WEIGHTS_FILE, BundleError, weights_digest
from dicom_node.lifecycle.decisions import record_change
from dicom_node.lifecycle.trainer import NotInstalled, Stopped, TrainingFailed, run_training
from dicom_node.lifecycle.versions import (
    OPEN,
    VersionFolders,
    base_bundle,
    compare,
    make_durable,
    prepare_bundle,
    requested_versions,
)
from dicom_node.passing import patiently
from dicom_node.tables import LabelledDataRow, ModelSettingRow, ModelVersionRow

log = logging.getLogger(__name__)

RETRAIN_QUEUE = "retrain"
_RECOVERY_ATTEMPTS = 20
_ASK_SECONDS = 1.0
_BY = "dicom-node"


@DBOS.dbos_class()
class RetrainingWorkflow(DBOSConfiguredInstance):
    """Trains what was asked for, one at a time, in processes of the lowest priority: studies never wait for it.

    After a crash the step that was interrupted runs again; training goes on from its last epoch.
    """

    def __init__(self, config: Config, database: Database, stopping: threading.Event) -> None:
        super().__init__("retraining")
        self.stopping = stopping
        self._config = config
        self._database = database
        self._begun = set[int]()
        self.queue: Queue | None = None

    def look(self) -> None:
        """Begin what was asked for; naming the workflow after the version makes twice once."""
        if self.queue is None:
            return
        with self._database.reading() as session:
            requested = requested_versions(session)
        for version_id in requested:
            if version_id not in self._begun:
                with SetWorkflowID(f"retrain-{version_id}"):
                    self.queue.enqueue(self.retrain, version_id)
                self._begun.add(version_id)

    @DBOS.workflow(max_recovery_attempts=_RECOVERY_ATTEMPTS)
    def retrain(self, version_id: int) -> None:
        """Make a version and evaluate it beside the one in use, on the same test images."""
        try:
            self._prepare(version_id)
            self._train(version_id)
            self._conclude(version_id)
        except Stopped:
            self._end(version_id, VersionState.CANCELLED, "It was cancelled.")
        except (BundleError, NotInstalled, TrainingFailed, OSError, ValueError) as error:
            log.error("version %d could not be trained: %s", version_id, error)
            self._end(version_id, VersionState.FAILED, str(error))

    @DBOS.step()
    @patiently
    def _prepare(self, version_id: int) -> None:
        """Copy the bundle in use; everything later starts from this copy, whatever is decided meanwhile."""
        with self._database.session.begin() as session:
            row = session.get_one(ModelVersionRow, version_id)
            if row.cancel_requested_at is not None:
                raise Stopped
            setting = session.get(ModelSettingRow, row.model)
            in_use = setting.version_id if setting else None
            row.state = VersionState.TRAINING
            data = [session.get_one(LabelledDataRow, number) for number in row.data]
        base = base_bundle(self._config.versions_folder, self._config.node.models_folder / row.model, in_use, row.model)
        count = sum(sum(classes.values()) for one in data for classes in one.images.values())
        told = (
            f"Fitted further from {row.base_version} on images labelled at {self._config.node.ae_title}: {count} in "
            f"{len(data)} uploads, of {row.requested_at:%Y-%m-%d} and before."
        )
        folders = self._folders(row)
        prepare_bundle(base, folders, row.version, told, row.epochs)

    @DBOS.step()
    def _train(self, version_id: int) -> None:
        """Collect, check, train, calibrate, evaluate, in one process; begun again, it goes on from its last epoch."""
        with self._database.reading() as session:
            row = session.get_one(ModelVersionRow, version_id)
            sources = [session.get_one(LabelledDataRow, number).folder for number in row.data]
        folders = self._folders(row)
        labelled = self._config.labelled_folder / row.model
        data = [part for name in sources for part in ("--data", str(labelled / name / "prepared"))]
        of = ["--model", row.model, "--models", str(folders.models), "--in-use", str(folders.former)]
        try:
            run_training(
                ["refit", *of, *data, "--out", str(folders.root)],
                folders.log,
                _ask_seldom(lambda: self._told_to_stop(version_id)),
            )
        except Stopped:
            if self.stopping.is_set():
                raise SystemExit from None  # no outcome is written down: the next worker goes on with this step
            raise

    def _told_to_stop(self, version_id: int) -> bool:
        if self.stopping.is_set():
            return True
        with self._database.reading() as session:
            return session.get_one(ModelVersionRow, version_id).cancel_requested_at is not None

    @DBOS.step()
    @patiently
    def _conclude(self, version_id: int) -> None:
        """The version is whole on the disk: say so, with both evaluations, for an administrator to decide."""
        with self._database.reading() as session:
            row = session.get_one(ModelVersionRow, version_id)
        folders = self._folders(row)
        make_durable(folders.bundle)
        comparison = compare(folders.bundle / "docs/evaluation.json", folders.in_use)
        digest = weights_digest(folders.bundle / WEIGHTS_FILE)
        with self._database.session.begin() as session:
            row = session.get_one(ModelVersionRow, version_id)
            row.state, row.comparison, row.weights_digest, row.trained_at = (
                VersionState.TRAINED,
                comparison,
                digest,
                now(),
            )
            record_change(session, row.model, _BY, f"Version {row.version} is trained; an administrator decides.")

    @DBOS.step()
    @patiently
    def _end(self, version_id: int, state: VersionState, reason: str) -> None:
        with self._database.session.begin() as session:
            row = session.get_one(ModelVersionRow, version_id)
            if row.state not in OPEN:
                return
            row.state, row.reason = state, reason
            if state is VersionState.FAILED:
                record_change(session, row.model, _BY, f"Version {row.version} could not be trained: {reason}")

    def _folders(self, row: ModelVersionRow) -> VersionFolders:
        return VersionFolders.of(self._config.versions_folder, row.id, row.model)


def _ask_seldom(question: Callable[[], bool]) -> Callable[[], bool]:
    """Ask a question of the database at most once a second."""
    last = [0.0]

    def ask() -> bool:
        if time.monotonic() - last[0] < _ASK_SECONDS:
            return False
        last[0] = time.monotonic()
        return question()

    return ask
