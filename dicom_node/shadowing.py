"""Versions in shadow as durable workflows: they read what was read, after its results are on their way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence

import sqlalchemy as sa
from dbos import DBOS, DBOSConfiguredInstance, Queue, SetWorkflowID

from dicom_node.archive.archive import load_study
from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import NotApplicable, Reading
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.models import Models
from dicom_node.isolation import Isolation, TooOftenInterrupted
from dicom_node.passing import patiently
from dicom_node.stored_files import NotStored, StoredFiles
from dicom_node.tables import AnalysisRow, FindingRow, ShadowFindingRow

log = logging.getLogger(__name__)

SHADOW_QUEUE = "shadow"
_RECOVERY_ATTEMPTS = 3


@DBOS.dbos_class()
class ShadowWorkflow(DBOSConfiguredInstance):
    """Lets versions in shadow read series, one at a time; what they say is kept, never sent, and holds nothing up."""

    def __init__(
        self,
        config: Config,
        database: Database,
        files: StoredFiles,
        models: Models,
        isolation: Isolation,
        stopping: threading.Event,
    ) -> None:
        super().__init__("shadow")
        self.stopping = stopping
        self._config = config
        self._database = database
        self._files = files
        self._models = models
        self._isolation = isolation
        self.queue: Queue | None = None

    def begin(self, name: str, chosen: Sequence[tuple[str, str, list[str]]]) -> None:
        """Let those series be read again whose model has a version in shadow."""
        for series_instance_uid, model, uids in chosen:
            if self.queue is not None and (shadow := self._models.shadow(model)) is not None:
                with SetWorkflowID(f"shadow-{shadow.version_id}-{name}-{series_instance_uid}"):
                    self.queue.enqueue(self.read, name, series_instance_uid, model, uids)

    @DBOS.workflow(max_recovery_attempts=_RECOVERY_ATTEMPTS)
    def read(self, name: str, series_instance_uid: str, model: str, uids: list[str]) -> None:
        """Let the version in shadow of a model read one series."""
        self._read(name, series_instance_uid, model, uids)

    @DBOS.step()
    @patiently
    def _read(self, name: str, series_instance_uid: str, model: str, uids: list[str]) -> None:
        shadow = self._models.shadow(model)
        if shadow is None:
            return
        with self._database.reading() as session:
            row = session.get_one(AnalysisRow, name)
            study = load_study(session, row.study_instance_uid, self._config.instances_folder, row.last_instance_id)
        wanted = set(uids)
        paths = [instance.path for instance in study.instances if instance.sop_instance_uid in wanted]
        try:
            with self._files.at_hand(paths), self._isolation.reading(name):
                stacks = read_stacks(shadow.reader.bundle.manifest.kind, paths).stacks
                for number, stack in enumerate(stacks, start=1):
                    reading = shadow.reader.read(stack, series_instance_uid)
                    self._keep(name, shadow.version_id, model, number, reading)
        except (NotApplicable, NotStored, UnreadableImage, TooOftenInterrupted) as error:
            log.info("the version of %s in shadow read nothing: %s", model, type(error).__name__)

    def _keep(self, name: str, version_id: int, model: str, stack_number: int, reading: Reading) -> None:
        series = reading.series_instance_uid
        with self._database.session.begin() as session:
            session.execute(
                sa.delete(ShadowFindingRow).where(
                    ShadowFindingRow.analysis_id == name,
                    ShadowFindingRow.series_instance_uid == series,
                    ShadowFindingRow.version_id == version_id,
                    ShadowFindingRow.stack_number == stack_number,
                )
            )
            session.flush()
            in_use = {
                row.number: row
                for row in session.scalars(
                    sa.select(FindingRow).where(
                        FindingRow.analysis_id == name,
                        FindingRow.series_instance_uid == series,
                        FindingRow.model == model,
                        FindingRow.stack_number == stack_number,
                    )
                )
            }
            session.add_all(
                ShadowFindingRow(
                    analysis_id=name,
                    series_instance_uid=series,
                    stack_number=stack_number,
                    version_id=version_id,
                    number=finding.number,
                    finding=finding.name,
                    probability=finding.probability,
                    evaluation=finding.evaluation,
                    in_use=in_use[finding.number].evaluation,
                    in_use_probability=in_use[finding.number].probability,
                    read_at=now(),
                )
                for finding in reading.findings
                if finding.number in in_use
            )
