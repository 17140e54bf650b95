"""What people ask of a study, carried out by a worker: again, elsewhere, not at all."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.database import now
from dicom_node.demo.processes import free_port
from dicom_node.domain import DeliveryState, ModelIdentity, StudyState
from dicom_node.tables import AnalysisRow, DeliveryRow, EventRow, FindingRow, ResultRow
from dicom_node.web.actions import Action, Request, Taken, act
from tests.stand_ins import StandInReader, crash
from tests.storage_scp import ProgrammableStorage
from tests.test_workflow import NodeUnderTest

Start = Callable[..., NodeUnderTest]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    monkeypatch.setattr("dicom_node.study_watcher._LOOK_FOR_DEAD_SECONDS", 0.1)
    nodes: list[NodeUnderTest] = []

    def make(destination_port: int | None, **destination: object) -> NodeUnderTest:
        nodes.append(NodeUnderTest(tmp_path, destination_port, **destination))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


def _ask(node: NodeUnderTest, action: Action, uid: str, destination: str | None = None) -> Taken:
    return act(action, Request(uid, "jane", "a good reason", now(), destination), node.config, node.database)


def _wait_until(holds: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_delivery_refused_for_good_is_retried_and_the_study_ends_delivered(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    storage_scp.statuses.append(0xC000)
    node.work()
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.FAILED)

    assert _ask(node, Action.RETRY, uid, "archive").state is StudyState.DELIVERING

    node.wait_for(uid, StudyState.DELIVERED)
    assert storage_scp.requests == 3
    assert {row.state for row in node.rows(DeliveryRow)} == {DeliveryState.DELIVERED}


def test_a_retry_does_not_wait_for_the_next_attempt(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    slow = node.config.deliver.model_copy(update={"first_retry_seconds": 3600.0, "maximum_retry_seconds": 3600.0})
    node.config = node.config.model_copy(update={"deliver": slow})
    storage_scp.statuses.append(0xA700)
    node.work()
    uid = node.receive(phantom_abdomen_ct)
    _wait_until(lambda: any(row.state is DeliveryState.RETRYING for row in node.rows(DeliveryRow)))

    _ask(node, Action.RETRY, uid)

    node.wait_for(uid, StudyState.DELIVERED)
    assert storage_scp.requests == 3


def test_a_study_analysed_again_by_the_same_model_sends_nothing_twice(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    reader = StandInReader()
    node.work(reader)
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.DELIVERED)
    made = sorted(row.sop_instance_uid for row in node.rows(ResultRow))

    _ask(node, Action.REANALYSE, uid)

    _wait_until(lambda: reader.reads == 2)
    node.wait_for(uid, StudyState.DELIVERED)
    assert sorted(row.sop_instance_uid for row in node.rows(ResultRow)) == made
    assert storage_scp.requests == 2
    assert len(node.rows(FindingRow)) == len(node.rows(AnalysisRow)) == 1
    began = [row.text for row in node.rows(EventRow) if "began" in row.text]
    assert began == ["Analysis of 16 images began."] * 2


def test_another_version_of_the_model_makes_new_objects_of_the_same_study(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    reader = StandInReader()
    node.work(reader)
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.DELIVERED)

    reader.identity = ModelIdentity("stand_in", "2.0", "1" * 64)
    reader.bundle.identity = reader.identity
    _ask(node, Action.REANALYSE, uid)

    _wait_until(lambda: len(storage_scp.received) == 4)
    node.wait_for(uid, StudyState.DELIVERED)
    assert len({received.SOPInstanceUID for received in storage_scp.received}) == 4
    assert [row.model_version for row in node.rows(FindingRow)] == ["2.0"]


def test_a_study_whose_model_crashed_is_analysed_again(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    crashes = iter([crash])
    node.work(StandInReader(lambda: next(crashes, lambda: None)()))
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.FAILED)

    _ask(node, Action.REANALYSE, uid)

    node.wait_for(uid, StudyState.DELIVERED)
    assert len(storage_scp.received) == 2


def test_results_go_to_another_destination_too(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    other = ProgrammableStorage(free_port()).start()
    node = start(storage_scp.port)
    node.work()
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.DELIVERED)
    node.rest()
    peer = node.config.peers[0].model_copy(update={"name": "elsewhere", "port": other.port})
    node.config = node.config.model_copy(update={"peers": (*node.config.peers, peer)})
    node.work()

    try:
        _ask(node, Action.SEND, uid, "elsewhere")
        node.wait_for(uid, StudyState.DELIVERED)
    finally:
        other.stop()

    assert len(other.received) == len(storage_scp.received) == 2


def test_a_study_cancelled_while_it_is_read_ends_without_results_and_can_be_taken_up_again(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    go_on = threading.Event()
    node.work(StandInReader(lambda: go_on.wait(60)))  # type: ignore[arg-type, return-value]
    uid = node.receive(phantom_abdomen_ct)
    node.wait_for(uid, StudyState.ANALYSING)

    _ask(node, Action.CANCEL, uid)
    go_on.set()
    time.sleep(1)

    assert node.study(uid).state is StudyState.CANCELLED
    assert node.study(uid).reason == "Cancelled by jane: a good reason"
    assert storage_scp.requests == 0

    _ask(node, Action.REANALYSE, uid)

    node.wait_for(uid, StudyState.DELIVERED)
    assert len(storage_scp.received) == 2


def test_a_cancelled_delivery_is_not_tried_again_until_somebody_asks(
    start: Start, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    storage_scp.stop()
    node.work()
    uid = node.receive(phantom_abdomen_ct)
    _wait_until(lambda: any(row.attempts for row in node.rows(DeliveryRow)))

    _ask(node, Action.CANCEL, uid)
    storage_scp.start()
    time.sleep(1)

    assert storage_scp.requests == 0
    assert node.study(uid).state is StudyState.CANCELLED

    _ask(node, Action.RETRY, uid)

    node.wait_for(uid, StudyState.DELIVERED)
    assert len(storage_scp.received) == 2
