"""No page reads a whole table: its statements as the database carries them out, and its work with ever more studies."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from benchmarks.large_database import fill
from benchmarks.pages import paths
from benchmarks.query_plans import GROWING, noted_statements, whole_tables
from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import Role
from dicom_node.tables import Base
from dicom_node.web.app import create_app
from dicom_node.web.queries import studies
from tests.web.conftest import log_in

pytestmark = pytest.mark.embedded
FEW, MANY, A_DAY = 500, 2000, 50


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Database]:
    databases = {}
    for number in (FEW, MANY):
        database = Database(f"sqlite:///{tmp_path_factory.mktemp('large') / 'node.sqlite'}")
        database.create_tables()
        fill(database, number, now(), A_DAY)
        databases[number] = database
    return databases


def _client(config: Config, database: Database) -> TestClient:
    with database.session.begin() as session:
        session.execute(sa.text("DELETE FROM sessions"))
        session.execute(sa.text("DELETE FROM users"))
    app: FastAPI = create_app(config, database)
    return log_in(app, Role.ADMIN)


def test_no_statement_of_a_page_reads_a_whole_table(config: Config, filled: dict[int, Database]) -> None:
    database = filled[FEW]
    client = _client(config, database)

    with noted_statements(database.engine) as statements:
        answers = [client.get(path).status_code for path in paths().values()]

    assert set(answers) == {200}
    assert len(statements) > 40
    assert whole_tables(database.engine, statements) == []


def test_a_statement_that_does_is_told(filled: dict[int, Database]) -> None:
    statement = "SELECT count(*) FROM studies WHERE study_description = ?"

    assert whole_tables(filled[FEW].engine, [(statement, ("CT",))]) == [f"studies: {statement}"]
    assert {table.name for table in Base.metadata.sorted_tables} >= GROWING


def test_work_of_a_page_does_not_grow_with_the_studies(
    config: Config, filled: dict[int, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "WINDOW", 100)
    # What counts the studies of a day or a fortnight grows with the day, not with the year.
    steps: dict[int, dict[str, int]] = {}
    for number, database in filled.items():
        client = _client(config, database)
        counted = [0]

        def count(counted: list[int] = counted) -> int:
            counted[0] += 1
            return 0

        def watch(connection: object, _record: object = None, *_rest: object) -> None:
            connection.set_progress_handler(count, 1000)  # type: ignore[attr-defined]

        sa.event.listen(database.engine, "checkout", watch)
        steps[number] = {}
        for name, path in paths().items():
            counted[0] = 0
            assert client.get(path).status_code == 200
            steps[number][name] = counted[0]
        sa.event.remove(database.engine, "checkout", watch)

    grown = {name: (few, steps[MANY][name]) for name, few in steps[FEW].items() if steps[MANY][name] > 2 * few + 20}
    assert not grown
