"""What is written down of refusals, and how rarely."""

from __future__ import annotations

import logging

import pytest
import sqlalchemy as sa

from dicom_node.archive.refusals import RefusalTable
from dicom_node.database import Database
from dicom_node.domain import Association
from dicom_node.receive.refusal import Reason
from dicom_node.tables import RefusalRow

CALLER = Association("CT1", "DICOMNODE", "192.0.2.7")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def table(database: Database, clock: Clock) -> RefusalTable:
    return RefusalTable(database, clock)


def _rows(database: Database) -> list[tuple[str, str, int]]:
    with database.reading() as session:
        rows = session.scalars(sa.select(RefusalRow).order_by(RefusalRow.id))
        return [(row.calling_ae_title, row.code, row.count) for row in rows]


def test_the_first_is_written_at_once_and_the_rest_of_the_minute_is_counted(
    table: RefusalTable, database: Database, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        table.record(CALLER, Reason.DAMAGED, "cut short", "1.2.3")
        assert _rows(database) == [("CT1", "damaged", 1)]
        for _ in range(99):
            clock.now += 0.1
            table.record(CALLER, Reason.DAMAGED, "cut short", "1.2.4")
    table.flush()

    assert _rows(database) == [("CT1", "damaged", 100)]
    assert len(caplog.records) == 1
    assert "1.2.3 from CT1 at 192.0.2.7: cut short" in caplog.text


def test_another_peer_another_reason_and_another_minute_get_rows_of_their_own(
    table: RefusalTable, database: Database, clock: Clock
) -> None:
    other = Association("CT2", "DICOMNODE", "192.0.2.7")
    table.record(CALLER, Reason.DAMAGED, "cut short")
    table.record(other, Reason.DAMAGED, "cut short")
    table.record(CALLER, Reason.DISK_FULL, "full")
    table.record(CALLER, Reason.DAMAGED, "cut short")
    clock.now += 61
    table.record(CALLER, Reason.DAMAGED, "cut short")

    assert _rows(database) == [
        ("CT1", "damaged", 2),
        ("CT2", "damaged", 1),
        ("CT1", "disk-full", 1),
        ("CT1", "damaged", 1),
    ]


def test_made_up_calling_ae_titles_fill_neither_the_memory_nor_the_table(
    table: RefusalTable, database: Database
) -> None:
    for number in range(400):
        table.record(Association(f"X{number}", "DICOMNODE", "192.0.2.9"), Reason.UNLISTED_SENDER, "not listed")
    table.flush()

    rows = _rows(database)
    assert len(rows) == 257
    assert sum(count for _, _, count in rows) == 400


def test_a_database_that_cannot_be_written_does_not_stop_the_receiver(
    table: RefusalTable, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with database.engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE refusals"))

    table.record(CALLER, Reason.DAMAGED, "cut short")

    assert "could not be written down" in caplog.text
