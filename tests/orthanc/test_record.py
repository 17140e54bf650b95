"""The record of a study on its way to the node."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from node_routing.record import Record, State
from node_routing.selection import Selection
from node_routing.settings import RetryPolicy

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = RetryPolicy(first=5 * SECOND, longest=60 * SECOND, give_up_after=timedelta(hours=1))
SELECTION = Selection(("series",), 2, "digest")
ASKED = Record.ask(SELECTION, NOW, by_hand=False)


@pytest.mark.parametrize(
    "record",
    [ASKED, ASKED.start(SELECTION, "job", NOW), ASKED.end(State.DELIVERED, "Two objects.", NOW)],
    ids=lambda record: record.state,
)
def test_a_record_survives_being_written(record: Record) -> None:
    assert Record.parse(record.to_json()) == record


@pytest.mark.parametrize("text", ["", "yes", "[]", "{}", '{"state": "elsewhere"}'])
def test_foreign_metadata_are_no_record(text: str) -> None:
    assert Record.parse(text) is None


def test_a_failure_is_tried_again_after_a_growing_delay() -> None:
    first = ASKED.start(SELECTION, "job", NOW).fail(State.WAITING, "refused", POLICY, NOW)
    second = first.fail(State.WAITING, "refused", POLICY, NOW)

    assert (first.state, first.attempts, first.next_step_at) == (State.WAITING, 1, NOW + 5 * SECOND)
    assert (second.attempts, second.next_step_at) == (2, NOW + 10 * SECOND)
    assert second.answer == "refused"


def test_a_step_that_works_counts_attempts_anew() -> None:
    failed = ASKED.fail(State.WAITING, "refused", POLICY, NOW)

    sent = failed.start(SELECTION, "job", NOW).store_succeeded(NOW)

    assert (sent.state, sent.attempts, sent.answer, sent.next_step_at) == (State.SENT, 0, "", NOW)


def test_trying_ends_visibly() -> None:
    later = NOW + timedelta(hours=1) + SECOND

    ended = ASKED.fail(State.WAITING, "refused", POLICY, later)

    assert (ended.state, ended.next_step_at) == (State.FAILED, None)
    assert ended.answer == "Given up after 1 attempts: refused"


def test_the_outcome_is_looked_for_less_and_less_often_and_not_for_ever() -> None:
    released = ASKED.release("Released.", NOW)
    waits = []
    for waited in (0, 40, 3600):
        now = NOW + waited * SECOND
        looked = released.look_again(now)
        assert looked.next_step_at is not None
        waits.append((looked.next_step_at - now) / SECOND)

    assert waits == [2, 10, 60]
    assert released.look_again(NOW + timedelta(hours=25)).next_step_at is None
