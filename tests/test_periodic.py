"""A periodic thread outlives what goes wrong with it, and says of a fault that lasts only that it began and ended."""

from __future__ import annotations

import logging
import threading
import time

import pytest
import sqlalchemy as sa

from dicom_node import periodic
from dicom_node.periodic import Periodic

AWAY = sa.exc.OperationalError("SELECT 'Doe^Jane'", None, Exception("connection refused"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(periodic, "_LEAST_PAUSE_SECONDS", 0.01)


def _run_through(outcomes: list[Exception | None]) -> None:
    """Let a periodic thread meet these one after another."""
    over = threading.Event()

    def body() -> None:
        if not outcomes:
            over.set()
        elif (outcome := outcomes.pop(0)) is not None:
            raise outcome

    thread = Periodic("the look", 0.001, body)
    thread.start()
    assert over.wait(5)
    thread.stop()


def test_a_database_that_is_away_is_one_line_when_it_goes_and_one_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        _run_through([None, AWAY, AWAY, AWAY, None, None])

    assert [record.getMessage() for record in caplog.records] == [
        "the look waits: connection refused",
        "the look goes on",
    ]
    assert not any(record.exc_info for record in caplog.records)


def test_any_other_fault_is_logged_with_its_trace_and_does_not_end_the_thread(
    caplog: pytest.LogCaptureFixture,
) -> None:
    _run_through([ValueError("x"), None, ValueError("y")])

    assert [record.exc_info is not None for record in caplog.records] == [True, True]


def test_stopping_waits_for_the_call_under_way_and_lets_it_know() -> None:
    begun, ended = threading.Event(), threading.Event()
    threads: list[Periodic] = []

    def body() -> None:
        begun.set()
        if threads[0].stopping.wait(5):
            ended.set()

    threads.append(Periodic("the look", 0.001, body))
    threads[0].start()
    assert begun.wait(5)
    threads[0].stop()

    assert ended.is_set()


def test_the_interval_may_be_changed_while_it_runs() -> None:
    calls: list[float] = []
    over = threading.Event()

    def body() -> None:
        calls.append(time.monotonic())
        thread.seconds = 0.2
        if len(calls) == 2:
            over.set()

    thread = Periodic("the look", 0.001, body)
    thread.start()
    assert over.wait(5)
    thread.stop()

    assert calls[1] - calls[0] >= 0.2
