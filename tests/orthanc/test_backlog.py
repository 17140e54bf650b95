"""Which study may do its next step when the node does not answer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from node_routing.backlog import JOBS_AT_MOST, Backlog, UnderWay
from node_routing.record import Record, State
from node_routing.selection import Selection
from node_routing.settings import RetryPolicy

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SECOND = timedelta(seconds=1)
POLICY = RetryPolicy(first=5 * SECOND, longest=60 * SECOND)
SELECTION = Selection(("series",), 2, "digest")
ASKED = Record.ask(SELECTION, NOW, by_hand=False)
SENDING = ASKED.start(SELECTION, "job", NOW)
REFUSED = SENDING.fail(State.WAITING, "refused", POLICY, NOW)


def backlog_of(*records: Record) -> Backlog:
    backlog = Backlog(POLICY)
    for number, record in enumerate(records):
        backlog.put(f"study {number}", UnderWay(f"1.2.{number}", record, number))
    return backlog


def test_the_study_that_is_due_first_goes_first() -> None:
    later = Record.ask(SELECTION, NOW + SECOND, by_hand=False)

    assert backlog_of(later, ASKED).next(NOW) == (NOW, "study 1")


def test_a_study_that_has_ended_is_let_go() -> None:
    backlog = backlog_of(ASKED)

    backlog.put("study 0", UnderWay("1.2.0", ASKED.end(State.DELIVERED, "", NOW), 1))

    assert backlog.next(NOW) is None


def test_only_so_many_jobs_run_at_one_time() -> None:
    sending = [SENDING] * JOBS_AT_MOST

    assert backlog_of(*sending[1:], ASKED).next(NOW) == (NOW, "study 3")
    assert backlog_of(*sending, ASKED).next(NOW) == (SENDING.next_step_at, "study 0")


def test_after_a_failure_the_others_wait_too() -> None:
    backlog = backlog_of(ASKED)

    backlog.note(SENDING, REFUSED, NOW)

    assert backlog.next(NOW) == (NOW + 5 * SECOND, "study 0")


def test_after_a_failure_one_study_tries_for_all() -> None:
    backlog = backlog_of(SENDING, ASKED)

    backlog.note(SENDING, REFUSED, NOW)

    assert backlog.next(NOW) == (SENDING.next_step_at, "study 0")


def test_one_success_lets_all_go_on() -> None:
    backlog = backlog_of(SENDING, ASKED)
    backlog.note(SENDING, REFUSED, NOW)

    backlog.note(SENDING, SENDING.store_succeeded(NOW), NOW)

    assert backlog.next(NOW) == (NOW, "study 1")


def test_a_web_address_that_fails_does_not_hold_up_sending() -> None:
    sent = SENDING.store_succeeded(NOW)
    backlog = backlog_of(sent, ASKED)

    backlog.note(sent, sent.fail(State.SENT, "unreachable", POLICY, NOW), NOW)

    assert backlog.next(NOW) == (NOW, "study 1")


def test_who_asks_by_hand_does_not_wait() -> None:
    backlog = backlog_of(ASKED)
    backlog.note(SENDING, REFUSED, NOW)

    backlog.try_now()

    assert backlog.next(NOW) == (NOW, "study 0")


def test_asking_for_an_outcome_comes_last() -> None:
    long_due = SENDING.store_succeeded(NOW).release("Released.", NOW - 60 * SECOND)

    assert backlog_of(long_due, ASKED).next(NOW) == (NOW, "study 1")
    assert backlog_of(long_due).next(NOW) == (NOW, "study 0")
