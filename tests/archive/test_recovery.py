"""What the index says again after the machine went down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa

from dicom_node.archive.recovery import index_again
from dicom_node.config import Config
from dicom_node.domain import Association, StudyState
from dicom_node.tables import EventRow, InstanceRow, SeriesRow, StudyRow

from .conftest import ArchiveUnderTest, FileMaker

CALLER = Association("MODALITY", "DICOMNODE", "127.0.0.1")
StartMachine = Callable[[], None]


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config.model_validate({"node": {"data_folder": tmp_path}})


@pytest.fixture
def start_machine(held: ArchiveUnderTest, config: Config) -> StartMachine:
    """The receiver's start after one of the machine."""
    if held.database.engine.dialect.name != "sqlite":
        pytest.skip("commits are synced on every database but SQLite")

    def start() -> None:
        (config.node.data_folder / "boot-id").write_text("an earlier boot")
        index_again(config, held.database, held.index)

    return start


def lose_index(held: ArchiveUnderTest) -> None:
    """As if nothing of what was committed had reached the disk."""
    with held.database.session.begin() as session:
        for table in (InstanceRow, SeriesRow, EventRow, StudyRow):
            session.execute(sa.delete(table))


def received(make_file: FileMaker, **attributes: object) -> Path:
    """A file with its sender in the file meta information, as the receiver writes it."""
    path = make_file(**attributes)
    dataset = pydicom.dcmread(path)
    dataset.file_meta.SourceApplicationEntityTitle = CALLER.calling_ae_title
    dataset.save_as(path)
    return path


def test_an_acknowledged_instance_whose_row_was_lost_with_the_machine_is_indexed_at_its_start(
    held: ArchiveUnderTest, make_file: FileMaker, start_machine: StartMachine
) -> None:
    held.archive.accept(received(make_file, SOPInstanceUID="1.2.9"), CALLER)
    with held.database.reading() as session:
        (before,) = session.execute(sa.select(InstanceRow.path, InstanceRow.size_bytes)).all()
    lose_index(held)

    start_machine()

    with held.database.reading() as session:
        assert session.execute(sa.select(InstanceRow.path, InstanceRow.size_bytes)).all() == [before]
        study = session.get_one(StudyRow, "1.2.3")
    assert (study.state, study.calling_ae_title) == (StudyState.RECEIVING, "MODALITY")


def test_rows_that_were_kept_are_left_as_they_are(
    held: ArchiveUnderTest, make_file: FileMaker, start_machine: StartMachine
) -> None:
    held.archive.accept(received(make_file, SOPInstanceUID="1.2.8"), CALLER)
    with held.database.session.begin() as session:
        session.get_one(StudyRow, "1.2.3").state = StudyState.DELIVERED

    start_machine()

    with held.database.reading() as session:
        assert session.get_one(StudyRow, "1.2.3").state is StudyState.DELIVERED


def test_a_file_cut_short_was_never_acknowledged_and_is_not_indexed(
    held: ArchiveUnderTest, make_file: FileMaker, start_machine: StartMachine
) -> None:
    held.archive.accept(received(make_file, SOPInstanceUID="1.2.9"), CALLER)
    lose_index(held)
    (kept,) = held.store.folder.rglob("*.dcm")
    kept.write_bytes(kept.read_bytes()[:-100])

    start_machine()

    with held.database.reading() as session:
        assert session.scalars(sa.select(InstanceRow.path)).all() == []
    assert kept.exists()


def test_only_a_start_of_the_machine_makes_the_store_be_looked_through(
    held: ArchiveUnderTest, make_file: FileMaker, start_machine: StartMachine, config: Config
) -> None:
    start_machine()
    held.archive.accept(received(make_file, SOPInstanceUID="1.2.9"), CALLER)
    lose_index(held)

    index_again(config, held.database, held.index)

    with held.database.reading() as session:
        assert session.scalars(sa.select(InstanceRow.path)).all() == []


def test_the_index_is_not_synced_by_itself_and_everything_else_is(held: ArchiveUnderTest) -> None:
    if held.database.engine.dialect.name != "sqlite":
        pytest.skip("commits are synced on every database but SQLite")
    for engine, normal_or_full in ((held.database.unsynced, 1), (held.database.engine, 2)):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == normal_or_full
