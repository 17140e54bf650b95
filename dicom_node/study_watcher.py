"""Looks for studies that have become complete and begins their analysis; ends those whose analysis is dead."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from dbos import DBOS, WorkflowStatus, error
from pydicom import Dataset

from dicom_node.archive.archive import first_instances
from dicom_node.commitment import CommitmentWorkflow
from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.part10 import UnreadableHeader, read_header
from dicom_node.periodic import Periodic
from dicom_node.pulling import FetchWorkflow
from dicom_node.results.identity import input_digest
from dicom_node.retraining import RetrainingWorkflow
from dicom_node.stored_files import NotStored, StoredFiles
from dicom_node.studies import analyses
from dicom_node.studies.analyses import UnfinishedStudy
from dicom_node.studies.completeness import WaitingStudy, complete_because, waiting_studies
from dicom_node.studies.urgency import urgent_because
from dicom_node.tables import AnalysisRow, StudyRow
from dicom_node.workflow import ANALYSE_QUEUE, RECOVERY_ATTEMPTS

log = logging.getLogger(__name__)

_URGENT, _ROUTINE = 1, 2  # of those that wait the lowest number begins first, then the one that waits longest
_LOOK_SECONDS = {False: 0.02, True: 0.2}
"""A look at the studies' rows costs 0.3 ms of a processor. Where the database is shared by many workers (True), each
looks less often: theirs add up."""
_LOOK_FOR_DEAD_SECONDS = 2.0
_DEAD_AT_ONCE = 1000
_DEAD = {
    "ERROR": "The analysis could not be carried out: see the worker's log.",
    "CANCELLED": "The analysis was cancelled.",
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": (
        f"The worker died {RECOVERY_ATTEMPTS + 1} times before this study was analysed, and does not try it again: "
        "see the worker's log."
    ),
}
"""What is said of a study whose workflow ended in such a status of the workflow engine."""


class StudyWatcher:
    """Looks for studies that have become complete and begins their analysis; ends those whose workflow is dead.

    The timer is a look at the studies' own rows rather than a timer for each study: nothing is lost between an
    acknowledged image and a timer that would have to be set for it, and any number of watchers may look at once,
    because an analysis is named after its inputs and begins once. The more workers are ``alive``, the less often each
    looks: together they look as often as one would.
    """

    def __init__(
        self,
        config: Config,
        database: Database,
        files: StoredFiles,
        begin: Callable[[str, str, int, int], None],
        commitments: CommitmentWorkflow,
        fetches: FetchWorkflow,
        retraining: RetrainingWorkflow,
        alive: Callable[[], int],
    ) -> None:
        self._config = config
        self._settings = config.completeness
        self._alive = alive
        self._commitments = commitments
        self._fetches = fetches
        self._retraining = retraining
        self._database = database
        self._files = files
        self._begin = begin
        self._next_burial = time.monotonic()
        self._thread = Periodic("study-watcher", _LOOK_SECONDS[database.is_shared], self._look_round)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking."""
        self._thread.stop()

    def _look_round(self) -> None:
        self.look(now())
        if time.monotonic() >= self._next_burial:
            self.end_dead()
            self._commitments.look()
            self._fetches.look()
            self._retraining.look()
            self._next_burial = time.monotonic() + _LOOK_FOR_DEAD_SECONDS
        self._thread.seconds = _LOOK_SECONDS[self._database.is_shared] * self._alive()

    def look(self, at: datetime) -> None:
        """Begin what is complete at ``at``."""
        with self._database.reading() as session:
            waiting = waiting_studies(session)
        for study in waiting:
            if (reason := complete_because(study, self._settings, at)) is not None:
                self._complete(study, reason)

    def end_dead(self) -> None:
        """End the studies whose workflow has failed, or has taken the worker down too often to be tried again.

        Those that somebody asked to analyse once more begin.
        """
        with self._database.reading() as session:
            unfinished = analyses.unfinished_studies(session)
        studies = {study.analysis_id: study for study in unfinished}
        names = list(studies)
        for start in range(0, len(names), _DEAD_AT_ONCE):
            some = names[start : start + _DEAD_AT_ONCE]
            for workflow in DBOS.list_workflows(
                workflow_ids=some, status=list(_DEAD), load_input=False, load_output=False
            ):
                study = studies[workflow.workflow_id]
                if study.asked_again_at is None or not _is_past(workflow, study.asked_again_at):
                    with self._database.session.begin() as session:
                        reason = _DEAD[workflow.status]
                        analyses.give_up(session, study.study_instance_uid, study.analysis_id, reason)
        for study in unfinished:
            if study.asked_again_at is not None:
                self._begin_again(study, study.asked_again_at)

    def _begin_again(self, study: UnfinishedStudy, asked_at: datetime) -> None:
        """Carry out an analysis once more, under its name: the same question has the same answer."""
        status = DBOS.get_workflow_status(study.analysis_id)
        if status is None:
            with self._database.reading() as session:
                row = session.get_one(AnalysisRow, study.analysis_id)
            self._begin(row.study_instance_uid, row.input_digest, row.last_instance_id, _ROUTINE)
        elif _is_past(status, asked_at):
            with contextlib.suppress(error.DBOSException):  # another worker's watcher was faster
                DBOS.rewind_workflow(study.analysis_id, queue_name=ANALYSE_QUEUE)

    def _complete(self, study: WaitingStudy, reason: str) -> None:
        uid = study.study_instance_uid
        with self._database.reading() as session:
            held = analyses.analysis_input(session, uid)
            digest = input_digest(held.sop_instance_uids)
            name = analyses.analysis_id(uid, digest)
            known = session.get(AnalysisRow, name) is not None
            sender = session.get_one(StudyRow, uid).calling_ae_title
            first = first_instances(session, uid, self._config.instances_folder)
        if known:
            with self._database.session.begin() as session:
                analyses.mark_queued(session, uid, study.last_received_at, name)
            return
        # Enqueued first: if the process ends between the two, the next look enqueues the same name again, which
        # does nothing. The other way round a study could be marked as queued and never be.
        urgent = self._urgent_because(sender, first)
        self._begin(uid, digest, held.last_instance_id, _ROUTINE if urgent is None else _URGENT)
        with self._database.session.begin() as session:
            if analyses.mark_queued(session, uid, study.last_received_at, name):
                analyses.add_event(session, uid, f"Complete: {reason if urgent is None else f'{reason}; {urgent}'}.")

    def _urgent_because(self, sender: str, first: Sequence[Path]) -> str | None:
        try:
            with self._files.at_hand(first):
                return urgent_because(self._config, sender, _headers(first))
        except NotStored:  # said by the analysis
            return urgent_because(self._config, sender, ())


def _is_past(status: WorkflowStatus, asked_again_at: datetime) -> bool:
    """Whether the workflow of an analysis ended without knowing that it was asked for again."""
    if status.status == "SUCCESS":
        return True
    return status.status in _DEAD and (status.updated_at or 0) < asked_again_at.timestamp() * 1000


def _headers(paths: Iterable[Path]) -> Iterator[Dataset]:
    for path in paths:
        with contextlib.suppress(UnreadableHeader):
            yield read_header(path)
