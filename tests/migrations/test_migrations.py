"""Databases of earlier releases, brought up to date at start."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from dicom_node.database import Database
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.migrations import NewerDatabase
from dicom_node.tables import AnalysisRow, Base, DeliveryRow, FindingRow, InstanceRow, StudyRow

pytestmark = pytest.mark.embedded

FIRST_RELEASE = Path(__file__).with_name("first_release.sql").read_text(encoding="utf-8")
"""A node's database as the first release left it: one study delivered, one not applicable, one refusal."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "node.sqlite"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{path}")
    yield opened
    opened.close()


def _differences(database: Database) -> list[object]:
    with database.engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), Base.metadata)


def _first_release(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.executescript(FIRST_RELEASE)
    connection.close()


def test_a_new_database_has_the_schema_of_the_models(database: Database) -> None:
    database.create_tables()

    assert _differences(database) == [], "write a migration, as CONTRIBUTING.md says"


def test_a_new_database_on_postgresql_has_the_schema_of_the_models_whoever_makes_it(postgresql_url: str) -> None:
    start = f"from dicom_node.database import Database; Database('{postgresql_url}').create_tables()"

    processes = [subprocess.Popen([sys.executable, "-c", start]) for _ in range(2)]

    assert [process.wait(60) for process in processes] == [0, 0]
    opened = Database(postgresql_url)
    assert _differences(opened) == [], "write a migration, as CONTRIBUTING.md says"
    opened.close()


def test_a_database_of_the_first_release_is_brought_up_to_date_with_all_it_holds(
    path: Path, database: Database
) -> None:
    _first_release(path)

    database.create_tables()

    assert _differences(database) == [], "write a migration, as CONTRIBUTING.md says"
    with database.reading() as session:
        assert {study.state for study in session.scalars(sa.select(StudyRow))} == {
            StudyState.DELIVERED,
            StudyState.NOT_APPLICABLE,
        }
        assert session.scalar(sa.select(sa.func.count()).select_from(InstanceRow)) == 11
        assert len(session.scalars(sa.select(AnalysisRow)).all()) == 2
        assert [finding.label for finding in session.scalars(sa.select(FindingRow))] == ["Tumour"]
        assert {row.state for row in session.scalars(sa.select(DeliveryRow))} == {DeliveryState.DELIVERED}
        assert session.execute(sa.text("PRAGMA foreign_key_check")).all() == []
        assert session.scalar(sa.text("PRAGMA foreign_keys")) == 1


def test_processes_that_start_at_once_migrate_once(path: Path, database: Database) -> None:
    _first_release(path)
    start = f"from dicom_node.database import Database; Database('sqlite:///{path}').create_tables()"

    processes = [subprocess.Popen([sys.executable, "-c", start]) for _ in range(4)]

    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    assert _differences(database) == []


def test_a_migration_that_fails_leaves_the_database_as_it_was(path: Path, database: Database) -> None:
    connection = sqlite3.connect(path)
    # A table in the way of the first migration, after several others have been created.
    connection.execute("CREATE TABLE results (something TEXT)")
    connection.commit()
    connection.close()

    with pytest.raises(sa.exc.OperationalError):
        database.create_tables()

    assert sa.inspect(database.engine).get_table_names() == ["results"]


def test_a_database_of_a_newer_release_is_left_alone(database: Database) -> None:
    database.create_tables()
    with database.session.begin() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))

    with pytest.raises(NewerDatabase, match="newer release"):
        database.create_tables()
