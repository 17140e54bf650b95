"""Storage commitment both ways, over real associations, with a stub that loses objects and with Orthanc."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, build_context, build_role, evt

from dicom_node.archive.archive import Archive
from dicom_node.archive.index import InstanceIndex
from dicom_node.archive.refusals import RefusalTable
from dicom_node.archive.store import InstanceStore
from dicom_node.deliver.commitment import CommitmentTable, references
from dicom_node.demo.archives import Orthanc
from dicom_node.demo.processes import free_port
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.receive.receiver import Receiver
from dicom_node.tables import CommitmentRequestRow, DeliveryRow, StudyRow
from dicom_node.transport import STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
from tests.storage_scp import ProgrammableStorage
from tests.test_workflow import NodeUnderTest


class CommittingStorage(ProgrammableStorage):
    """Answers requests for storage commitment as ``lose`` says: SOP Instance UID to failure reason."""

    def __init__(self, port: int, node_port: int, lose: Callable[[int, list[str]], dict[str, int]]) -> None:
        super().__init__(port)
        self.transactions: list[list[str]] = []
        self._node_port, self._lose = node_port, lose

    def handlers(self) -> list:
        return [*super().handlers(), (evt.EVT_N_ACTION, self._act)]

    def contexts(self) -> list:
        return [*super().contexts(), build_context(STORAGE_COMMITMENT)]

    def _act(self, event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        threading.Thread(target=self._report, args=(information,)).start()
        return 0x0000, None

    def _report(self, information: Dataset) -> None:
        time.sleep(0.2)
        pairs = [
            (item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID) for item in information.ReferencedSOPSequence
        ]
        self.transactions.append([uid for _, uid in pairs])
        lost = self._lose(len(self.transactions), self.transactions[-1])
        kept = [pair for pair in pairs if pair[1] not in lost]
        report = references(information.TransactionUID, kept, [pair for pair in pairs if pair[1] in lost])
        for item in report.get("FailedSOPSequence", []):
            item.FailureReason = lost[item.ReferencedSOPInstanceUID]
        association = AE("ARCHIVE").associate(
            "127.0.0.1",
            self._node_port,
            contexts=[build_context(STORAGE_COMMITMENT)],
            ae_title="DICOMNODE",
            ext_neg=[build_role(STORAGE_COMMITMENT, scp_role=True)],
        )
        assert association.is_established
        status, _ = association.send_n_event_report(
            report, 2 if lost else 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
        )
        assert status.Status == 0x0000
        association.release()


class CommittingNode(NodeUnderTest):
    """Archive, worker and receiver in this process."""

    def __init__(self, folder: Path, destination_port: int, port: int | None = None, **destination: object) -> None:
        super().__init__(folder, destination_port, storage_commitment=True, **destination)
        self.port = port or free_port()
        receive = {"host": "127.0.0.1", "port": self.port, "minimum_free_megabytes": 0, "maximum_disk_percent": 100}
        self.config = self.config.model_copy(
            update={
                "receive": self.config.receive.model_copy(update=receive),
                "deliver": self.config.deliver.model_copy(update={"timeout_seconds": 60}),
            }
        )
        store = InstanceStore(self.config.instances_folder, self.config.incoming_folder)
        self.receiver = Receiver(
            self.config,
            Archive(store, InstanceIndex(self.database)),
            RefusalTable(self.database),
            CommitmentTable(self.config, self.database),
        )
        self.receiver.start()

    def wait(self, condition: Callable[[], bool], seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, [(row.state, row.message) for row in self.rows(DeliveryRow)]
            time.sleep(0.05)

    def all_committed(self) -> bool:
        rows = self.rows(DeliveryRow)
        return bool(rows) and all(row.committed_at is not None for row in rows)

    def close(self) -> None:
        self.receiver.stop()
        super().close()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., CommittingNode]]:
    nodes: list[CommittingNode] = []

    def make(destination_port: int, port: int | None = None, **destination: object) -> CommittingNode:
        nodes.append(CommittingNode(tmp_path, destination_port, port, **destination))
        return nodes[-1]

    yield make
    for node in nodes:
        node.close()


@pytest.fixture
def lossy(start: Callable[..., CommittingNode]) -> Iterator[Callable[..., tuple[CommittingNode, CommittingStorage]]]:
    storages: list[CommittingStorage] = []

    def make(lose: Callable[[int, list[str]], dict[str, int]]) -> tuple[CommittingNode, CommittingStorage]:
        port = free_port()
        node = start(port)
        storages.append(CommittingStorage(port, node.port, lose).start())
        node.work()
        return node, storages[-1]

    yield make
    for storage in storages:
        storage.stop()


def test_what_a_destination_lost_is_sent_again_until_it_is_committed(
    lossy: Callable[..., tuple[CommittingNode, CommittingStorage]], phantom_abdomen_ct: list[Dataset]
) -> None:
    node, storage = lossy(lambda number, uids: {uids[0]: 0x0112} if number == 1 else {})

    uid = node.receive(phantom_abdomen_ct)

    node.wait(node.all_committed)
    node.wait_for(uid, StudyState.DELIVERED)
    [first, second] = storage.transactions
    assert len(first) == 2
    assert second == [first[0]], "only what is not committed is asked for again"
    assert storage.requests == 3
    assert {row.state for row in node.rows(DeliveryRow)} == {DeliveryState.DELIVERED}


def test_what_a_destination_will_never_keep_is_parked_with_its_words(
    lossy: Callable[..., tuple[CommittingNode, CommittingStorage]], phantom_abdomen_ct: list[Dataset]
) -> None:
    node, storage = lossy(lambda _, uids: {uids[0]: 0x0122})

    uid = node.receive(phantom_abdomen_ct)

    study = node.wait_for(uid, StudyState.FAILED)
    assert "never to be committed to storage: SOP class not supported (0x0122)" in study.reason
    assert storage.requests == 2


def test_a_destination_without_storage_commitment_is_named_and_its_results_stay_delivered(
    start: Callable[..., CommittingNode], storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    node = start(storage_scp.port)
    node.work()

    uid = node.receive(phantom_abdomen_ct)

    node.wait(lambda: any("could not be asked for" in row.message for row in node.rows(DeliveryRow)))
    assert node.study(uid).state is StudyState.DELIVERED
    assert storage_scp.requests == 2


def test_a_peer_is_told_what_the_node_holds_and_what_not(
    start: Callable[..., CommittingNode], phantom_abdomen_ct: list[Dataset]
) -> None:
    reports: list[tuple[int, Dataset]] = []

    def report(event: evt.Event) -> tuple[int, None]:
        reports.append((event.event_type, event.event_information))
        return 0x0000, None

    port = free_port()
    node = start(port)
    node.receive(phantom_abdomen_ct[:2])
    held = [(image.SOPClassUID, image.SOPInstanceUID) for image in phantom_abdomen_ct[:2]]
    stranger = (phantom_abdomen_ct[0].SOPClassUID, generate_uid())
    transaction = generate_uid()
    association = AE("ARCHIVE").associate(
        "127.0.0.1", node.port, contexts=[build_context(STORAGE_COMMITMENT)], ae_title="DICOMNODE"
    )

    status, _ = association.send_n_action(
        references(transaction, [*held, stranger]), 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE
    )
    association.release()
    assert status.Status == 0x0000
    node.work()
    time.sleep(1)  # nobody listens yet: the answer must be tried again
    listening = AE("ARCHIVE")
    listening.add_supported_context(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
    listening.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)])
    try:
        node.wait(lambda: node.rows(CommitmentRequestRow)[0].closed_at is not None)
    finally:
        listening.shutdown()

    [(event_type, told)] = reports
    assert (event_type, told.TransactionUID) == (2, transaction)
    assert {item.ReferencedSOPInstanceUID for item in told.ReferencedSOPSequence} == {uid for _, uid in held}
    [failed] = told.FailedSOPSequence
    assert (failed.ReferencedSOPInstanceUID, failed.FailureReason) == (stranger[1], 0x0112)
    assert node.rows(CommitmentRequestRow)[0].outcome == "2 of 3 instances are held"


def test_a_report_that_comes_after_a_restart_commits_what_was_asked_before_it(
    start: Callable[..., CommittingNode], phantom_abdomen_ct: list[Dataset]
) -> None:
    port, asked, may_report = free_port(), threading.Event(), threading.Event()

    def wait_for_the_restart(_: int, __: list[str]) -> dict[str, int]:
        asked.set()
        assert may_report.wait(60)
        return {}

    node = start(port)
    storage = CommittingStorage(port, node.port, wait_for_the_restart).start()
    try:
        node.work()
        node.receive(phantom_abdomen_ct)
        assert asked.wait(60)
        node.close()
        again = start(port, node.port)
        again.work()
        may_report.set()

        again.wait(again.all_committed)
        assert len(storage.transactions) == 1, "what was asked is remembered"
        assert storage.requests == 2, "and nothing is sent again"
    finally:
        may_report.set()
        storage.stop()


def test_a_question_is_answered_by_the_node_that_is_there_after_a_restart(
    start: Callable[..., CommittingNode], phantom_abdomen_ct: list[Dataset]
) -> None:
    told: list[Dataset] = []

    def report(event: evt.Event) -> tuple[int, None]:
        told.append(event.event_information)
        return 0x0000, None

    port = free_port()
    node = start(port)
    node.receive(phantom_abdomen_ct[:1])
    node.work()
    association = AE("ARCHIVE").associate(
        "127.0.0.1", node.port, contexts=[build_context(STORAGE_COMMITMENT)], ae_title="DICOMNODE"
    )
    held = [(phantom_abdomen_ct[0].SOPClassUID, phantom_abdomen_ct[0].SOPInstanceUID)]
    information = references(generate_uid(), held)
    status, _ = association.send_n_action(information, 1, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
    association.release()
    assert status.Status == 0x0000
    time.sleep(0.5)  # it tries to answer, and nobody listens
    node.close()

    again = start(port, node.port)
    listening = AE("ARCHIVE")
    listening.add_supported_context(STORAGE_COMMITMENT, scu_role=True, scp_role=True)
    listening.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_N_EVENT_REPORT, report)])
    try:
        again.work()
        again.wait(lambda: again.rows(CommitmentRequestRow)[0].closed_at is not None)
    finally:
        listening.shutdown()

    [answer] = told
    assert answer.TransactionUID == information.TransactionUID
    assert [item.ReferencedSOPInstanceUID for item in answer.ReferencedSOPSequence] == [held[0][1]]


def test_strangers_and_nonsense_are_refused(start: Callable[..., CommittingNode]) -> None:
    node = start(free_port())

    def ask(calling: str, information: Dataset, action: int = 1) -> int:
        association = AE(calling).associate(
            "127.0.0.1", node.port, contexts=[build_context(STORAGE_COMMITMENT)], ae_title="DICOMNODE"
        )
        status, _ = association.send_n_action(information, action, STORAGE_COMMITMENT, STORAGE_COMMITMENT_INSTANCE)
        association.release()
        return int(status.Status)

    sound = references(generate_uid(), [("1.2.840.10008.5.1.4.1.1.2", "1.2.3")])
    assert ask("STRANGER", sound) == 0x0124
    assert ask("ARCHIVE", references("", [])) == 0x0115
    assert ask("ARCHIVE", sound, action=7) == 0x0123
    assert node.rows(CommitmentRequestRow) == []


def test_orthanc_commits_what_the_node_delivered_and_asks_the_node_in_turn(
    start: Callable[..., CommittingNode], tmp_path: Path, phantom_abdomen_ct: list[Dataset]
) -> None:
    if not Orthanc.is_installed():
        pytest.skip("Orthanc is not installed (Debian: orthanc orthanc-dicomweb)")
    port = free_port()
    with Orthanc(tmp_path / "orthanc", {"node": ("DICOMNODE", port)}) as orthanc:
        node = start(orthanc.dicom_port, port, ae_title=orthanc.ae_title)
        node.work()

        node.receive(phantom_abdomen_ct)
        node.wait(node.all_committed)

        instances = [[str(image.SOPClassUID), str(image.SOPInstanceUID)] for image in phantom_abdomen_ct]
        question = {"DicomInstances": [*instances, ["1.2.840.10008.5.1.4.1.1.2", "1.2.3"]]}
        with httpx.Client(base_url=orthanc.url, timeout=30) as client:
            path = client.post("/modalities/node/storage-commitment", json=question).raise_for_status().json()["Path"]
            node.wait(lambda: client.get(path).json()["Status"] != "Pending")
            answer = client.get(path).json()
        assert answer["Status"] == "Failure"
        assert len(answer["Success"]) == len(instances)
        assert [item["SOPInstanceUID"] for item in answer["Failures"]] == ["1.2.3"]
        assert node.rows(StudyRow)[0].state is StudyState.DELIVERED
