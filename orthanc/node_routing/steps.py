"""One step of a study on its way to the node: send, look after the job, release, look for the outcome."""

from __future__ import annotations

from datetime import datetime

from node_routing.archive import Archive, JobState, NotInArchive
from node_routing.node import Node, NodeUnreachable, UnknownToNode
from node_routing.record import NODE_ENDS, Record, State
from node_routing.selection import Selection, Study, select_by_hand, select_by_rules
from node_routing.settings import Settings

NOTHING_TO_SEND = "The study holds no series of images that is to be sent; the node's own results never are."
_FORGOTTEN_JOB = "Orthanc does not say how the job ended, so the study is sent again."


class Steps:
    """Does one step and returns the record that follows from it; keeps nothing itself."""

    def __init__(self, archive: Archive, node: Node, settings: Settings) -> None:
        self._archive, self._node, self._settings = archive, node, settings

    def select(self, study: Study, *, by_hand: bool) -> Selection:
        """What of a study is to be sent."""
        return select_by_hand(study) if by_hand else select_by_rules(study, self._settings.rules)

    def send(self, study: Study, record: Record, now: datetime) -> Record:
        """Start the job that sends what the study holds now."""
        selection = self.select(study, by_hand=record.by_hand)
        if not selection.series:
            return record.end(State.FAILED, NOTHING_TO_SEND, now)
        try:
            job = self._archive.send(selection.series, self._settings.modality)
        except NotInArchive as error:
            return record.fail(State.WAITING, f"No job could be started: {error}", self._settings.retry, now)
        return record.start(selection, job, now)

    def look_after_job(self, record: Record, now: datetime) -> Record:
        """See how far the job is."""
        try:
            job = self._archive.job(record.job)
        except NotInArchive:
            return record.fail(State.WAITING, _FORGOTTEN_JOB, self._settings.retry, now)
        if job.state is JobState.SUCCEEDED:
            return record.store_succeeded(now)
        if job.state is JobState.FAILED:
            return record.fail(State.WAITING, f"Sending failed: {job.error}", self._settings.retry, now)
        return record.check_job_later(now)

    def release(self, study_instance_uid: str, record: Record, now: datetime) -> Record:
        """Say to the node that it has every image."""
        try:
            return record.release(self._node.complete(study_instance_uid), now)
        except NodeUnreachable as error:
            return record.fail(State.SENT, str(error), self._settings.retry, now)
        except UnknownToNode as error:
            return record.fail(State.WAITING, f"{error} It is sent again.", self._settings.retry, now)

    def look_for_outcome(self, study_instance_uid: str, record: Record, now: datetime) -> Record:
        """See whether the node is done with the study."""
        try:
            study = self._node.study(study_instance_uid)
        except NodeUnreachable as error:
            return record.fail(State.RELEASED, str(error), self._settings.retry, now)
        except UnknownToNode as error:
            return record.end(State.FAILED, str(error), now)
        if study.state in NODE_ENDS:
            return record.end(NODE_ENDS[study.state], study.reason, now)
        return record.look_again(now)
