"""How long the workflow engine remembers."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom import Dataset

from dicom_node.database import now
from dicom_node.domain import StudyState
from dicom_node.history import forget_workflows
from tests.stand_ins import StandInReader
from tests.storage_scp import ProgrammableStorage
from tests.test_workflow import NodeUnderTest

pytestmark = pytest.mark.embedded


@pytest.fixture
def node(tmp_path: Path, storage_scp: ProgrammableStorage) -> Iterator[NodeUnderTest]:
    node = NodeUnderTest(tmp_path, storage_scp.port)
    yield node
    node.close()


def _rows(folder: Path) -> int:
    """All that the engine has written down of workflows."""
    tables = ("workflow_status", "workflow_input", "workflow_output", "operation_outputs")
    with sqlite3.connect(folder / "workflow.sqlite") as connection:
        return sum(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in tables)


def _wait_for_silence(folder: Path) -> int:
    """The rows of an engine that has nothing left to do: the study has ended before its workflow has."""
    while True:
        before = _rows(folder)
        time.sleep(0.3)
        if _rows(folder) == before:
            return before


def test_nothing_is_left_of_workflows_that_ended_before_and_their_studies_are_not_read_again(
    node: NodeUnderTest, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset], tmp_path: Path
) -> None:
    reader = StandInReader()
    node.work(reader)
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.DELIVERED)
    written = _wait_for_silence(tmp_path)

    assert forget_workflows(now() - timedelta(minutes=5)) == 0
    assert _rows(tmp_path) == written
    assert forget_workflows(now()) >= 2  # its analysis and the attempts of its delivery
    node.receive(phantom_abdomen_ct)
    time.sleep(0.5)

    assert _rows(tmp_path) == 0
    assert node.study(uid).state is StudyState.DELIVERED
    assert reader.reads == 1


def test_a_delivery_that_is_tried_again_is_not_forgotten(
    node: NodeUnderTest, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    storage_scp.stop()
    node.work()
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.DELIVERING)

    for _ in range(10):
        forget_workflows(now())
        time.sleep(0.1)
    storage_scp.start()

    node.wait_for(uid, StudyState.DELIVERED)
    assert sorted(received.Modality for received in storage_scp.received) == ["OT", "SR"]
