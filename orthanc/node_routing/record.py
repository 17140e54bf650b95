"""Where a study is on its way to the node: a record kept as metadata on the study, and its transitions."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from node_routing.selection import Selection
from node_routing.settings import RetryPolicy

JOB_CHECK = timedelta(seconds=30)
"""How often a job is looked up whose end Orthanc has not told."""

FIRST_LOOK = timedelta(seconds=2)
LONGEST_LOOK = timedelta(minutes=1)
OUTCOME_PATIENCE = timedelta(hours=24)


class State(StrEnum):
    """Where a study is. The last three are ends."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    RELEASED = "released"
    DELIVERED = "delivered"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"


NODE_ENDS = {
    "delivered": State.DELIVERED,
    "not applicable": State.NOT_APPLICABLE,
    "failed": State.FAILED,
    "cancelled": State.FAILED,
}
"""The states in which the node is done with a study."""


@dataclass(frozen=True, slots=True)
class Record:
    """One study's way to the node.

    ``digest`` is of the images that are sent, ``asked_at`` when that was asked for. ``next_step_at`` is None where
    nothing is left to do. ``answer`` is the last thing that the node or Orthanc said, for people.
    """

    state: State
    since: datetime
    asked_at: datetime
    images: int
    digest: str
    next_step_at: datetime | None
    by_hand: bool = False
    attempts: int = 0
    job: str = ""
    answer: str = ""

    @classmethod
    def ask(cls, selection: Selection, now: datetime, *, by_hand: bool) -> Self:
        """A study that is to be sent."""
        return cls(State.WAITING, now, now, selection.images, selection.digest, now, by_hand)

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read the metadata; None where somebody else wrote there."""
        try:
            raw: dict[str, Any] = json.loads(text)
            raw["state"] = State(raw["state"])
            for name in ("since", "asked_at", "next_step_at"):
                raw[name] = raw[name] and datetime.fromisoformat(raw[name])
            return cls(**raw)
        except (ValueError, TypeError, KeyError):
            return None

    def to_json(self) -> str:
        """The text that is kept as metadata."""
        return json.dumps(asdict(self), default=datetime.isoformat)

    def covers(self, selection: Selection) -> bool:
        """Whether these images were asked for already."""
        return self.digest == selection.digest

    def start(self, selection: Selection, job: str, now: datetime) -> Self:
        """A job sends these images."""
        return replace(
            self,
            state=State.SENDING,
            since=now,
            images=selection.images,
            digest=selection.digest,
            job=job,
            next_step_at=now + JOB_CHECK,
        )

    def store_succeeded(self, now: datetime) -> Self:
        """The node has acknowledged every image."""
        return replace(self, state=State.SENT, since=now, job="", attempts=0, answer="", next_step_at=now)

    def release(self, answer: str, now: datetime) -> Self:
        """The node knows that the study is complete."""
        return replace(self, state=State.RELEASED, since=now, attempts=0, answer=answer, next_step_at=now + FIRST_LOOK)

    def end(self, state: State, answer: str, now: datetime) -> Self:
        """Nothing is left to do."""
        return replace(self, state=state, since=now, job="", answer=answer, next_step_at=None)

    def fail(self, back_to: State, why: str, policy: RetryPolicy, now: datetime) -> Self:
        """A step did not work: it is tried again later, and given up when that has gone on for too long."""
        attempts = self.attempts + 1
        if now - self.asked_at > policy.give_up_after:
            return replace(self, attempts=attempts).end(State.FAILED, f"Given up after {attempts} attempts: {why}", now)
        return replace(
            self,
            state=back_to,
            since=self.since if self.state is back_to else now,
            attempts=attempts,
            job="",
            answer=why,
            next_step_at=now + policy.delay(attempts),
        )

    def check_job_later(self, now: datetime) -> Self:
        """The job still runs."""
        return replace(self, next_step_at=now + JOB_CHECK)

    def look_again(self, now: datetime) -> Self:
        """The node is still at work: look less and less often, and no more after a day."""
        waited = now - self.since
        if waited > OUTCOME_PATIENCE:
            return replace(self, answer="The node has not ended the study within a day.", next_step_at=None)
        return replace(self, attempts=0, next_step_at=now + min(max(waited / 4, FIRST_LOOK), LONGEST_LOOK))
