"""The studies under way to the node, and which of them may do its next step."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from node_routing.gate import Gate
from node_routing.record import Record, State
from node_routing.settings import RetryPolicy

JOBS_AT_MOST = 4
"""Jobs of the router in Orthanc at one time, so that a user's own jobs need not queue behind a backlog."""

_TO_THE_API = {State.SENT, State.RELEASED}


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A study with a step left to do; ``change`` is the newest change that leads to it after a restart."""

    study_instance_uid: str
    record: Record
    change: int


class Backlog:
    """Owns the studies under way, by Orthanc identifier, and the gates to the node's two doors."""

    def __init__(self, policy: RetryPolicy) -> None:
        self.studies: dict[str, UnderWay] = {}
        self._policy = policy
        self._dicom, self._api = Gate(), Gate()

    def put(self, identifier: str, study: UnderWay) -> None:
        """Take a study up, or let it go where it has no step left."""
        if study.record.next_step_at is None:
            self.studies.pop(identifier, None)
        else:
            self.studies[identifier] = study

    def note(self, before: Record, after: Record, now: datetime) -> None:
        """Learn from a step whether the node can be reached."""
        to_the_api = before.state in _TO_THE_API
        gate = self._api if to_the_api else self._dicom
        if after.attempts > before.attempts:
            gate = gate.failed(self._policy, now)
        elif to_the_api or after.state is State.SENT:
            gate = gate.passed()
        if to_the_api:
            self._api = gate
        else:
            self._dicom = gate

    def try_now(self) -> None:
        """Somebody asks: try without waiting for the gates."""
        self._dicom, self._api = self._dicom.ajar(), self._api.ajar()

    def next(self, now: datetime) -> tuple[datetime, str] | None:
        """The study that may do its next step first, and when.

        Of those that may do it now, the ones that only ask for an outcome come last: a node that answers slowly
        must not keep others from being sent and released.
        """
        jobs = sum(study.record.state is State.SENDING for study in self.studies.values())
        ready = (
            (max(self._ready_at(study.record), now), study.record.state is State.RELEASED, identifier)
            for identifier, study in self.studies.items()
            if study.record.state is not State.WAITING or self._dicom.admits(jobs, JOBS_AT_MOST)
        )
        first = min(ready, default=None)
        return first and (first[0], first[2])

    def _ready_at(self, record: Record) -> datetime:
        at = record.next_step_at or record.since
        if record.state is State.SENDING:  # a look at a job costs the node nothing
            return at
        gate = self._api if record.state in _TO_THE_API else self._dicom
        return max(at, gate.opens_at or at)
