"""A PostgreSQL server for benchmarks and tests, and empty databases on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
        with tempfile.TemporaryDirectory(prefix="dicom-node-postgresql-") as folder, _started(Path(folder)) as url:
            yield from _engine(url)
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


@contextmanager
def _started(folder: Path) -> Iterator[str]:
    initdb, postgres = _program("initdb"), _program("postgres")
    # PostgreSQL refuses to run as root; its Debian package brings a user for it.
    account = "postgres" if os.geteuid() == 0 else None
    if account is not None:
        shutil.chown(folder, account)
    data, port = folder / "data", processes.free_port()
    options = ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync"]
    subprocess.run(
        [initdb, "--pgdata", data, *options], user=account, cwd=folder, check=True, stdout=subprocess.DEVNULL
    )
    # No test switches the machine off: without syncs, a database is made in a third of the time.
    settings = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off", "max_connections": 200}
    command = [
        str(postgres),
        "-D",
        str(data),
        "-p",
        str(port),
        *(f"--{name}={value}" for name, value in settings.items()),
    ]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, user=account, cwd=folder, stdout=log, stderr=log)
    try:
        url = f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
        _wait_for(url, process, folder / "log")
        yield url
    finally:
        process.send_signal(2)  # SIGINT: disconnect everybody and stop
        process.wait(30)


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
