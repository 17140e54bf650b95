"""Databases that are locked while images arrive, are analysed and are looked at."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from pydicom import Dataset

from dicom_node import database
from dicom_node.access.users import Users
from dicom_node.archive.refusals import RefusalTable
from dicom_node.domain import Association, Role, StudyState
from dicom_node.receive.refusal import Reason
from dicom_node.tables import AnalysisRow, RefusalRow
from dicom_node.web.app import create_app
from tests.receiving_node import ReceivingNode, ct_image
from tests.storage_scp import ProgrammableStorage
from tests.test_workflow import NodeUnderTest

pytestmark = pytest.mark.embedded

Start = Callable[..., ReceivingNode]
LOGIN = {"name": "jane", "password": "correct horse battery"}


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Another program writes and does not come to an end."""
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        writer.rollback()
        writer.close()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of a second in place of the half minute that a writer waits for another."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.25)


@pytest.mark.usefixtures("impatient")
def test_images_are_refused_while_another_program_locks_the_database(start_receiving: Start, tmp_path: Path) -> None:
    node = start_receiving(tmp_path)
    before, during, after = ct_image("1.2.3"), ct_image("1.2.4"), ct_image("1.2.5")
    assert node.send([before]) == [0x0000]

    with _locked(tmp_path / "node.sqlite"):
        began = time.monotonic()
        assert node.send([during, during, during]) == [0xA700] * 3
        assert time.monotonic() - began < 3, "nobody waits for the refusal to be written down"
    assert node.send([after]) == [0x0000]

    assert node.held() == {before.SOPInstanceUID, after.SOPInstanceUID}
    node.refusals.flush()
    with node.database.reading() as session:
        [refusal] = session.scalars(sa.select(RefusalRow))
    assert (refusal.code, refusal.count) == ("index-failed", 3)


@pytest.mark.usefixtures("impatient")
def test_a_refusal_that_could_not_be_written_is_written_later(start_receiving: Start, tmp_path: Path) -> None:
    node = start_receiving(tmp_path)
    table = RefusalTable(node.database)

    with _locked(tmp_path / "node.sqlite"):
        table.record(Association("CT1", "DICOMNODE", "192.0.2.7"), Reason.DAMAGED, "cut short", "1.2.3")
        table.flush()
    table.flush()

    with node.database.reading() as session:
        [refusal] = session.scalars(sa.select(RefusalRow))
    assert (refusal.reason, refusal.sop_instance_uid, refusal.count) == ("cut short", "1.2.3", 1)


@pytest.mark.usefixtures("impatient")
def test_page_that_has_to_write_says_that_the_database_does_not_answer(start_receiving: Start, tmp_path: Path) -> None:
    node = start_receiving(tmp_path)
    Users(node.database).add("jane", Role.OPERATOR, LOGIN["password"])
    browser = TestClient(create_app(node.config, node.database), raise_server_exceptions=False, follow_redirects=False)

    with _locked(tmp_path / "node.sqlite"):
        refused = browser.post("/login", data=LOGIN)
        assert browser.get("/login").status_code == 200, "reading goes on"
    entered = browser.post("/login", data=LOGIN)

    assert refused.status_code == 503
    assert "The database does not answer" in refused.text
    assert "Traceback" not in refused.text
    assert entered.status_code == 303


@pytest.fixture
def work(tmp_path: Path, storage_scp: ProgrammableStorage) -> Iterator[NodeUnderTest]:
    node = NodeUnderTest(tmp_path, storage_scp.port)
    yield node
    node.close()


@pytest.mark.usefixtures("impatient")
def test_a_study_waits_for_the_database_and_is_delivered_once(
    work: NodeUnderTest, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset], tmp_path: Path
) -> None:
    uid = work.receive(phantom_abdomen_ct)
    work.work()
    work.wait_for(uid, StudyState.ANALYSING, StudyState.DELIVERING, StudyState.DELIVERED)

    with _locked(tmp_path / "node.sqlite"):
        time.sleep(1.5)
    study = work.wait_for(uid, StudyState.DELIVERED)

    assert study.reason == ""
    assert sorted(received.Modality for received in storage_scp.received) == ["OT", "SR"]
    assert [row.interrupted for row in work.rows(AnalysisRow)] == [0], "to wait is not to crash"
