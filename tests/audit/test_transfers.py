"""What of received and sent instances is in the audit trail: a beginning and an end an association and study."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom import Dataset, uid
from pynetdicom import AE, build_context

from dicom_node.audit.message import AuditedStudy, AuditEvent
from dicom_node.audit.trail import AuditTrail
from dicom_node.audit.transfers import Transfers
from dicom_node.domain import StudyState
from tests.audit.schema import read_messages
from tests.receiving_node import ReceivingNode, ct_image
from tests.storage_scp import ProgrammableStorage
from tests.test_workflow import NodeUnderTest

BEGIN, TRANSFERRED = "Begin Transferring DICOM Instances", "DICOM Instances Transferred"
CT = uid.CTImageStorage


def _events(folder: Path) -> list[tuple]:
    """Event, outcome, who sent to whom, study, patient, and how many instances of which SOP class."""
    found = []
    for read in read_messages(folder):
        sender, receiver = read.findall("ActiveParticipant")
        study, patient = read.findall("ParticipantObjectIdentification")
        assert [p.find("RoleIDCode").get("originalText") for p in (sender, receiver)] == [
            "Source Role ID",
            "Destination Role ID",
        ]
        found.append(
            (
                read.find("EventIdentification/EventID").get("originalText"),
                read.find("EventIdentification").get("EventOutcomeIndicator"),
                f"{sender.get('UserID')} to {receiver.get('UserID')}",
                study.get("ParticipantObjectID"),
                patient.get("ParticipantObjectID"),
                {c.get("UID"): int(c.get("NumberOfInstances")) for c in study.iter("SOPClass")},
            )
        )
    return found


def _wait_for(folder: Path, count: int) -> list[tuple]:
    deadline = time.monotonic() + 10
    while not folder.exists() or len(_events(folder)) < count:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return _events(folder)


def test_each_association_and_study_is_a_beginning_and_an_end(
    start_receiving: Callable[..., ReceivingNode], tmp_path: Path
) -> None:
    node = start_receiving(tmp_path)
    studies = ["1.2.3", "1.2.3", "1.2.4", "1.2.3"]

    node.send([ct_image(study, size=16) for study in studies])

    way = "MODALITY to DICOMNODE"
    assert _wait_for(node.config.audit_folder, 4) == [
        (BEGIN, "0", way, "1.2.3", "4711", {}),
        (BEGIN, "0", way, "1.2.4", "4711", {}),
        (TRANSFERRED, "0", way, "1.2.3", "4711", {CT: 3}),
        (TRANSFERRED, "0", way, "1.2.4", "4711", {CT: 1}),
    ]
    caller = read_messages(node.config.audit_folder)[0].find("ActiveParticipant")
    assert (caller.get("NetworkAccessPointID"), caller.get("NetworkAccessPointTypeCode")) == ("127.0.0.1", "2")


def test_association_that_breaks_off_is_a_failure_and_one_without_instances_is_nothing(
    start_receiving: Callable[..., ReceivingNode], tmp_path: Path
) -> None:
    node = start_receiving(tmp_path)
    node.send([])
    association = AE("MODALITY").associate(
        "127.0.0.1",
        node.config.receive.port,
        contexts=[build_context(CT, uid.ExplicitVRLittleEndian)],
        ae_title="DICOMNODE",
    )

    association.send_c_store(ct_image("1.2.3", size=16))
    association.abort()

    assert [event[:2] for event in _wait_for(node.config.audit_folder, 2)] == [(BEGIN, "0"), (TRANSFERRED, "4")]


def test_a_sender_does_not_wait_for_the_audit_trail(tmp_path: Path) -> None:
    writing = threading.Event()

    class StuckTrail(AuditTrail):
        def record(self, event: AuditEvent) -> None:
            writing.wait(10)
            super().record(event)

    transfers = Transfers(StuckTrail(tmp_path, "NODE"), "NODE")
    came = AuditedStudy("1.2.3", "4711", "", ((CT, 1),))

    began = time.monotonic()
    for number in range(1000):
        transfers.received(number % 10, "MODALITY", "127.0.0.1", came)
    for number in range(10):
        transfers.ended(number, in_order=True)
    took = time.monotonic() - began
    writing.set()
    transfers.close()

    assert took < 1
    assert sum(event[5].get(CT, 0) for event in _events(tmp_path)) == 1000


@pytest.fixture
def node(tmp_path: Path, storage_scp: ProgrammableStorage) -> Iterator[NodeUnderTest]:
    node = NodeUnderTest(tmp_path, storage_scp.port)
    yield node
    node.close()


def test_results_that_are_sent_are_events_and_attempts_without_an_answer_are_none(
    node: NodeUnderTest, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset]
) -> None:
    storage_scp.stop()
    node.work()
    study = node.receive(phantom_abdomen_ct)
    node.wait_for(study, StudyState.DELIVERING)
    time.sleep(0.5)
    storage_scp.statuses.append(0xA900)
    storage_scp.start()

    node.wait_for(study, StudyState.FAILED)

    way, patient = "DICOMNODE to ARCHIVE", str(phantom_abdomen_ct[0].PatientID)
    events = _wait_for(node.config.audit_folder, 3)
    assert [(*event[:2], *event[2:5]) for event in events] == [
        (BEGIN, "0", way, study, patient),
        (TRANSFERRED, "0", way, study, patient),
        (TRANSFERRED, "4", way, study, patient),
    ]
    assert [sum(event[5].values()) for event in events] == [0, 1, 1]
