"""The database of the node: its engine, its sessions, and how SQLite and PostgreSQL are set up."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.orm import sessionmaker

from dicom_node.migrations import bring_up_to_date
from dicom_node.passing import until_it_passes


def now() -> datetime:
    """The current time, UTC, aware."""
    return datetime.now(UTC)


_BUSY_SECONDS = 30.0
"""How long a writer waits for another one on SQLite."""

_SERVER = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
"""A server that has vanished from the network is noticed in a minute, not in the two hours of TCP (libpq, seconds)."""


class Database:
    """The engine and its sessions. SQLite runs in WAL mode with full synchronisation: a commit is durable.

    ``session`` makes sessions that may write; ``reading`` makes sessions that take no write lock.
    """

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        if parsed.get_backend_name() == "sqlite" and parsed.database:
            Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        self.engine = _create_engine(parsed)
        self._unsynced: sa.Engine | None = None
        self.session = sessionmaker(self.engine, expire_on_commit=False)
        self.reading = sessionmaker(self.engine.execution_options(read_only=True), expire_on_commit=False)

    @property
    def is_shared(self) -> bool:
        """Whether it is a server, which workers on other machines may use too."""
        return self.engine.dialect.name != "sqlite"

    def create_tables(self) -> None:
        """Create the tables, or bring those of an earlier release up to date; several processes may do so at once.

        Raises:
            NewerDatabase: the tables are of a newer release.
        """
        bring_up_to_date(self.engine)

    def wait_for_tables(self, stopping: threading.Event) -> None:
        """Create the tables as :meth:`create_tables` does, but wait for a database that is not there yet, or is away.

        Raises:
            NewerDatabase: the tables are of a newer release.
            SystemExit: told to stop before it answered.
        """
        until_it_passes(self.create_tables, "opening the database", stopping)

    @property
    def unsynced(self) -> sa.Engine:
        """An engine for rows that can be made again: SQLite's commits outlast the process but not the machine's end.

        What was committed last may then be gone; a later commit of ``engine`` makes it durable. On other databases it
        is ``engine`` itself.
        """
        if self.engine.dialect.name != "sqlite":
            return self.engine
        if self._unsynced is None:
            self._unsynced = _create_engine(self.engine.url)
            event.listen(self._unsynced, "connect", _leave_syncing_to_checkpoints)
        return self._unsynced

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()
        if self._unsynced is not None:
            self._unsynced.dispose()


def _create_engine(url: sa.URL) -> sa.Engine:
    # The values of a statement that fails are patient data as a rule, and its error goes into the log.
    server = url.get_backend_name() != "sqlite"
    engine = sa.create_engine(url, pool_pre_ping=server, hide_parameters=True, connect_args=_SERVER if server else {})
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    else:
        event.listen(engine, "handle_error", _leave_out_values)
    return engine


def _leave_out_values(context: sa.engine.ExceptionContext) -> None:
    # PostgreSQL's words quote the row that it refuses, and so patients.
    original = context.original_exception
    diagnosis = getattr(original, "diag", None)
    if diagnosis is None or diagnosis.sqlstate is None:
        return
    words = f"SQLSTATE {diagnosis.sqlstate}, table {diagnosis.table_name}, constraint {diagnosis.constraint_name}"
    original.args = (words,)
    if context.sqlalchemy_exception is not None:
        context.sqlalchemy_exception.args = (f"({type(original).__qualname__}) {words}",)


def _configure_sqlite(connection: Any, _record: object) -> None:
    # The driver's own transaction handling starts transactions late and lets two writers deadlock; SQLAlchemy
    # issues BEGIN itself instead (see _begin_immediate).
    connection.isolation_level = None
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={round(1000 * _BUSY_SECONDS)}")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _leave_syncing_to_checkpoints(connection: Any, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL").close()


def _begin_immediate(connection: sa.Connection) -> None:
    # A deferred transaction that turns into a writer fails at once with SQLITE_BUSY when another has written
    # since; taking the write lock at BEGIN makes it wait for busy_timeout instead.
    options = connection.get_execution_options()
    connection.exec_driver_sql("BEGIN" if options.get("read_only") else "BEGIN IMMEDIATE")
