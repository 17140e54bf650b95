"""Keeps a study that crashes or hangs the worker from taking the other studies with it.

A decoder that crashes, an out-of-memory kill or an endless loop ends the whole process, so what was being read is
written down before it begins and struck out when it ends. What a new process finds written down was interrupted: it
is read again alone, and after some attempts no more.
"""

from __future__ import annotations

import faulthandler
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import sqlalchemy as sa

from dicom_node.database import Database
from dicom_node.tables import AnalysisRow

_MOST_INTERRUPTIONS = 3


class TooOftenInterrupted(Exception):
    """The study has ended the worker too often to be tried again; the text says so to the reader."""


class Isolation:
    """Owns the count of interrupted readings of each analysis, and the time limit of those under way.

    A reading that takes longer than ``limit_seconds`` ends this process, with the place of each thread on standard
    error, and the supervisor starts another: a thread that hangs in a decoder cannot be ended in any other way.
    """

    def __init__(self, database: Database, limit_seconds: float) -> None:
        self._database = database
        self._limit_seconds = limit_seconds
        self._turn = threading.Condition()
        self._alone = False
        self._waiting_to_be_alone = 0
        self._ended = Counter[str]()
        """Readings that have ended, and could not be struck out: the database did not work at that moment."""
        self._deadlines: dict[int, tuple[str, float]] = {}

    @contextmanager
    def reading(self, analysis_id: str) -> Iterator[None]:
        """Read a series of this analysis inside; waits until nothing else is read where it was interrupted before.

        Raises:
            TooOftenInterrupted: it must not be read again.
        """
        self._strike_out(analysis_id)
        with self._database.reading() as session:
            interrupted = session.get_one(AnalysisRow, analysis_id).interrupted
        if interrupted >= _MOST_INTERRUPTIONS:
            raise TooOftenInterrupted(
                f"The worker died {interrupted} times while it read this study, and does not try it again: "
                "see the worker's log."
            )
        self._enter(analysis_id, alone=interrupted > 0)
        try:
            self._count(analysis_id, 1)
            try:
                yield
            finally:
                self._ended[analysis_id] += 1
                with suppress(sa.exc.SQLAlchemyError):  # struck out before it is read again
                    self._strike_out(analysis_id)
        finally:
            self._leave()

    def forgive(self) -> None:
        """What is under way ends because the worker was told to stop: that is nobody's fault."""
        with self._turn:
            under_way = [analysis_id for analysis_id, _ in self._deadlines.values()]
        for analysis_id in under_way:
            with suppress(sa.exc.SQLAlchemyError):
                self._count(analysis_id, -1)

    def _enter(self, analysis_id: str, *, alone: bool) -> None:
        with self._turn:
            if alone:
                self._waiting_to_be_alone += 1
                self._turn.wait_for(lambda: not self._deadlines)
                self._waiting_to_be_alone -= 1
                self._alone = True
            else:
                self._turn.wait_for(lambda: not self._alone and not self._waiting_to_be_alone)
            self._deadlines[threading.get_ident()] = (analysis_id, time.monotonic() + self._limit_seconds)
            self._set_alarm()

    def _leave(self) -> None:
        with self._turn:
            del self._deadlines[threading.get_ident()]
            self._alone = False
            self._set_alarm()
            self._turn.notify_all()

    def _set_alarm(self) -> None:
        """End the process at the first deadline. The alarm is C and needs no lock that a hanging decoder may hold."""
        faulthandler.cancel_dump_traceback_later()
        if self._deadlines:
            first = min(deadline for _, deadline in self._deadlines.values())
            faulthandler.dump_traceback_later(max(1e-3, first - time.monotonic()), exit=True)

    def _strike_out(self, analysis_id: str) -> None:
        if ended := self._ended[analysis_id]:
            self._count(analysis_id, -ended)
        del self._ended[analysis_id]

    def _count(self, analysis_id: str, change: int) -> None:
        with self._database.session.begin() as session:
            row = session.get_one(AnalysisRow, analysis_id)
            row.interrupted = max(0, row.interrupted + change)
