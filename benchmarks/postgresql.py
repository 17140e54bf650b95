"""A PostgreSQL server for benchmarks and tests, and empty databases on it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import sqlalchemy as sa

from dicom_node.demo import processes

VARIABLE = "DICOM_NODE_TEST_POSTGRESQL"
"""The URL of a server on which databases may be made; else, or where it is ``temporary``, a server is started. Where it
is set, every test runs on PostgreSQL."""

_START_SECONDS = 30.0


class ServerMissing(Exception):
    """PostgreSQL's server is not installed here; the text names the package."""


@contextmanager
def server() -> Iterator[sa.Engine]:
    """The server that the variable names, else one in a temporary folder that ends with this context.

    Raises:
        ServerMissing: none is named, and none can be started.
    """
    named = os.environ.get(VARIABLE, "temporary")
    if named == "temporary":
        with (
            tempfile.TemporaryDirectory(prefix="dicom-node-postgresql-") as folder,
            TemporaryServer(Path(folder)) as started,
        ):
            yield from _engine(started.url)
    else:
        yield from _engine(named)


@contextmanager
def empty_database(server: sa.Engine) -> Iterator[str]:
    """The URL of a database that is made for this context."""
    name = f"test_{uuid.uuid4().hex}"
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    yield server.url.set(database=name).render_as_string(hide_password=False)
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))


def _engine(url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)
    yield engine
    engine.dispose()


class TemporaryServer:
    """A server in ``folder``, which ends with the context; it can be stopped and started again meanwhile."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # PostgreSQL refuses to run as root; its Debian package brings a user for it.
        self._account = "postgres" if os.geteuid() == 0 else None
        self._port = processes.free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.url = f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/postgres"

    def __enter__(self) -> Self:
        """Make the server's files and start it.

        Raises:
            ServerMissing: it is not installed.
        """
        initdb = _program("initdb")
        if self._account is not None:
            shutil.chown(self._folder, self._account)
        options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
        subprocess.run(
            [initdb, "--pgdata", self._folder / "data", *options],
            user=self._account,
            cwd=self._folder,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server; returns once it answers."""
        # No test switches the machine off: without syncs, a database is made in a third of the time.
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "fsync": "off",
            "max_connections": 200,
        }
        command = [str(_program("postgres")), "-D", str(self._folder / "data"), "-p", str(self._port)]
        command += [f"--{name}={value}" for name, value in settings.items()]
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(command, user=self._account, cwd=self._folder, stdout=log, stderr=log)
        _wait_for(self.url, self._process, self._folder / "log")

    def stop(self) -> None:
        """Disconnect everybody, in the middle of whatever they do, and stop; harmless where it does not run."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(30)
            self._process = None


def _wait_for(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            engine.connect().close()
            return
        except sa.exc.OperationalError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}") from None
        time.sleep(0.05)


def _program(name: str) -> Path:
    """A program of the server; Debian keeps them out of the path, by version."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or next(map(str, reversed(installed)), None)
    if found is None:
        raise ServerMissing(f"{name} is not installed (Debian: postgresql)")
    return Path(found)
