"""Open pages learn of what other processes write by one stream each and one question for all of them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.database import Database
from dicom_node.domain import StudyState
from dicom_node.tables import SessionRow
from dicom_node.web import changes
from dicom_node.web.routes import changes as route
from tests.web.conftest import STUDY, Records

_WRITES = """
import sys
from datetime import UTC, datetime
from dicom_node.database import Database
from dicom_node.tables import EventRow
database = Database(sys.argv[1])
with database.session.begin() as session:
    session.add(EventRow(study_instance_uid="1.2.3", at=datetime.now(UTC), text="Written elsewhere."))
"""
Lines = Iterator[str]
_browser = httpx.Client(timeout=15, limits=httpx.Limits(max_connections=100), trust_env=False)


@contextmanager
def _stream(server: uvicorn.Server, client: TestClient, **headers: str) -> Iterator[Lines]:
    port = server.config.port
    cookie = f"dicom-node-{port}={client.cookies['dicom-node-0']}"
    headers = {"Cookie": cookie, "HX-Request": "true"} | {
        name.replace("_", "-"): value for name, value in headers.items()
    }
    with _browser.stream("GET", f"http://127.0.0.1:{port}/changes", headers=headers) as answer:
        answer.raise_for_status()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield answer.iter_lines()


def _next_change(lines: Lines) -> None:
    while next(lines) != "event: changed":
        pass


def _settle(lines: Lines) -> None:
    """Let pass what is said to the first page that is opened."""
    _next_change(lines)
    time.sleep(changes.PAUSE_SECONDS)


def test_what_another_process_writes_is_told_within_a_second(
    server: uvicorn.Server,
    viewer: TestClient,
    database: Database,
) -> None:
    with _stream(server, viewer) as lines:
        _settle(lines)

        subprocess.run([sys.executable, "-c", _WRITES, database.engine.url.render_as_string(False)], check=True)
        written = time.monotonic()
        _next_change(lines)

    assert time.monotonic() - written < 1.5


def test_what_is_written_without_pause_is_told_at_intervals(
    server: uvicorn.Server,
    viewer: TestClient,
    records: Records,
) -> None:
    with _stream(server, viewer) as lines:
        _settle(lines)
        stopping = threading.Event()

        def write() -> None:
            while not stopping.wait(0.02):
                records.event("Once more.")

        writer = threading.Thread(target=write)
        writer.start()
        _next_change(lines)
        first = time.monotonic()
        _next_change(lines)
        stopping.set()
        writer.join()

    assert time.monotonic() - first >= 0.9 * changes.PAUSE_SECONDS


def test_many_pages_ask_one_question_and_all_are_told(
    server: uvicorn.Server,
    viewer: TestClient,
    database: Database,
    records: Records,
) -> None:
    asked: list[str] = []
    sa.event.listen(database.engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    with ExitStack() as stack:
        streams = [stack.enter_context(_stream(server, viewer)) for _ in range(50)]
        _settle(streams[0])
        asked.clear()
        begun = time.monotonic()

        records.event("Something.")
        for lines in streams:
            _next_change(lines)

        took = time.monotonic() - begun
    read = [statement for statement in asked if "INSERT" not in statement and not statement.startswith("BEGIN")]
    assert len(read) <= took / changes.ASK_SECONDS + 2
    assert took < 3


def test_page_that_comes_back_is_told_what_it_missed(
    server: uvicorn.Server,
    viewer: TestClient,
    records: Records,
) -> None:
    with _stream(server, viewer) as lines:
        _settle(lines)
    records.event("Missed.")

    with _stream(server, viewer, Last_Event_ID="1") as lines:
        _next_change(lines)


def test_progress_of_a_training_is_a_change(
    server: uvicorn.Server,
    viewer: TestClient,
    app: FastAPI,
) -> None:
    run = Path(app.state.config.versions_folder) / "7" / "runs" / "tiny"
    with _stream(server, viewer) as lines:
        _settle(lines)

        run.mkdir(parents=True)
        (run / "progress.json").write_text("{}")

        _next_change(lines)


def test_stream_ends_by_itself_and_an_ended_session_gets_no_other(
    server: uvicorn.Server,
    viewer: TestClient,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(route, "STREAM_SECONDS", 0.5)
    with _stream(server, viewer) as lines:
        with database.session.begin() as session:
            session.execute(sa.delete(SessionRow))

        begun = time.monotonic()
        for _ in lines:
            pass

    assert time.monotonic() - begun < 5

    with pytest.raises(httpx.HTTPStatusError, match="401"), _stream(server, viewer):
        pass


def test_nobody_listens_without_having_logged_in(anonymous: TestClient) -> None:
    assert anonymous.get("/changes", headers={"HX-Request": "true"}).status_code == 401


def test_process_ends_although_pages_are_open(
    server: uvicorn.Server,
    viewer: TestClient,
) -> None:
    with _stream(server, viewer) as lines:
        next(lines)
        server.should_exit = True

        begun = time.monotonic()
        for _ in lines:
            pass

    assert time.monotonic() - begun < 2


def test_stream_says_nothing_of_what_was_written(
    server: uvicorn.Server,
    viewer: TestClient,
    records: Records,
) -> None:
    with _stream(server, viewer) as lines:
        _settle(lines)

        records.study(age=timedelta(), state=StudyState.RECEIVING)
        told = [next(lines) for _ in range(3)]

    assert STUDY not in "".join(told)


def test_postgresql_is_asked_what_writes_change_and_reads_do_not(postgresql_url: str, tmp_path: Path) -> None:
    database = Database(postgresql_url)
    database.create_tables()
    question = changes.Changes(database, tmp_path)
    with question._connect() as connection, database.engine.connect() as other:
        before = question._answer(connection)
        other.execute(sa.text("SELECT count(*) FROM studies"))
        other.rollback()
        assert question._answer(connection) == before

        other.execute(sa.text("DELETE FROM studies"))
        other.execute(
            sa.text(
                "INSERT INTO refusals (at, calling_ae_title, address, sop_instance_uid, reason) "
                "VALUES (now(), 'A', '', '', '')"
            )
        )
        begun = question._answer(connection)
        other.commit()

        assert question._answer(connection) not in (before, begun)
    database.close()
