"""Tells open pages that something was written: one question to the database, whatever the number of pages."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa
from starlette.concurrency import run_in_threadpool

from dicom_node.database import Database
from dicom_node.lifecycle.versions import newest_progress

log = logging.getLogger(__name__)

STREAM = "/changes"
"""Where pages listen."""

ASK_SECONDS = 0.5
PAUSE_SECONDS = 2.0
"""After a change: what is written all the time brings pages up to date as often as this."""

_QUESTIONS = {
    "sqlite": "PRAGMA data_version",  # another number after every commit of another connection, also of other processes
    "postgresql": "SELECT CAST(pg_current_snapshot() AS text)",  # names every transaction that writes
}


class Changes:
    """Owns the question and the task that asks it while somebody listens.

    ``number`` grows with every change. What happened while nobody listened counts as one. Neither question touches a
    table, so that the writers of rows need not tell of them and do not wait for one another.
    """

    def __init__(self, database: Database, versions_folder: Path) -> None:
        self.number = 0
        self.closed = False
        self._database = database
        self._versions_folder = versions_folder
        self._listeners = 0
        self._asking: asyncio.Task[None] | None = None
        self._moved = asyncio.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Have the question asked meanwhile; within the event loop of the application."""
        self._listeners += 1
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask())
        try:
            yield
        finally:
            self._listeners -= 1

    async def after(self, number: int, seconds: float) -> int:
        """The number as soon as it is another one; the same one after ``seconds``, or when the process ends."""
        if self.number == number and not self.closed:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._moved.wait(), seconds)
        return self.number

    def close(self) -> None:
        """End all waiting: the process is to end, and must not wait for pages that stay open."""
        self.closed = True
        self._moved.set()

    async def _ask(self) -> None:
        connection: sa.Connection | None = None
        seen: tuple[str, int] | None = None
        answer: tuple[str, int] | None
        try:
            while self._listeners and not self.closed:
                try:
                    # Always the same connection: SQLite counts the changes that one sees of the others.
                    if connection is None:
                        connection = await run_in_threadpool(self._connect)
                    answer = await run_in_threadpool(self._answer, connection)
                except (sa.exc.SQLAlchemyError, OSError) as error:
                    if seen is not None:
                        log.warning("the database does not answer (%s): pages are not live", type(error).__name__)
                    _give_back(connection)
                    connection, answer = None, None
                changed, seen = answer != seen, answer
                if changed:
                    self._move()
                await asyncio.sleep(PAUSE_SECONDS if changed else ASK_SECONDS)
        finally:
            self._asking = None
            _give_back(connection)

    def _connect(self) -> sa.Connection:
        return self._database.engine.connect().execution_options(read_only=True)

    def _answer(self, connection: sa.Connection) -> tuple[str, int]:
        with connection.begin():
            written = connection.exec_driver_sql(_QUESTIONS[connection.dialect.name]).scalar_one()
        return str(written), newest_progress(self._versions_folder)

    def _move(self) -> None:
        self.number += 1
        self._moved.set()
        self._moved = asyncio.Event()


def _give_back(connection: sa.Connection | None) -> None:
    if connection is not None:
        connection.close()
