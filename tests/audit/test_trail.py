from __future__ import annotations

import logging
import socket
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from lxml import etree

from dicom_node.audit import message
from dicom_node.audit.message import Action, AuditedStudy, AuditEvent, Outcome, Participant
from dicom_node.audit.syslog import configured_syslog
from dicom_node.audit.trail import AuditTrail
from dicom_node.config import AuditSection
from tests.audit.schema import SCHEMA, event_of, read_messages

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
JANE = Participant("jane", is_requestor=True, address="10.0.0.1")
NODE = Participant("NODE", is_requestor=False, role=message.APPLICATION)
STUDY = AuditedStudy("1.2.3", "PID-7", "A100")


def _view(patient_id: str = "PID-7", note: str = "") -> AuditEvent:
    study = AuditedStudy("1.2.3", patient_id, "A100")
    return AuditEvent(message.INSTANCES_ACCESSED, Action.READ, AT, (JANE, NODE), note=note, study=study)


def test_event_is_one_line_of_the_schema_in_a_file_of_its_day(tmp_path: Path) -> None:
    trail = AuditTrail(tmp_path / "audit", "NODE")

    trail.record(_view(note="a note"))
    trail.record(
        AuditEvent(message.USER_AUTHENTICATION, Action.EXECUTE, AT, (JANE,), message.LOGIN, Outcome.MINOR_FAILURE)
    )

    [path] = (tmp_path / "audit").iterdir()
    assert path.name == "2026-03-04.log"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    first, second = read_messages(tmp_path / "audit")
    assert event_of(first) == ("DICOM Instances Accessed", "", "0", "jane")
    assert event_of(second) == ("User Authentication", "Login", "4", "jane")
    assert [item.get("ParticipantObjectID") for item in first.findall("ParticipantObjectIdentification")] == [
        "1.2.3",
        "PID-7",
    ]
    assert first.find(".//Accession").get("Number") == "A100"


@pytest.mark.parametrize("value", ['"><AuditMessage/>', "a\nb", "<script>&'\"", "\x00\x1b", "山田", ""])
def test_value_of_a_patient_forges_no_message_and_no_line(tmp_path: Path, value: str) -> None:
    AuditTrail(tmp_path, "NODE").record(_view(value, value))

    [read] = read_messages(tmp_path)
    assert len(read.findall("ParticipantObjectIdentification")) == 2
    if value.isprintable():
        assert read.findall("ParticipantObjectIdentification")[1].get("ParticipantObjectID") == value


def test_schema_refuses_another_order_of_elements(tmp_path: Path) -> None:
    AuditTrail(tmp_path, "NODE").record(_view())
    [read] = read_messages(tmp_path)

    read.append(read[0])

    assert not SCHEMA.validate(read)


@pytest.mark.parametrize("kind", ["udp", "unix"])
def test_event_goes_to_syslog_too(tmp_path: Path, kind: str) -> None:
    family = socket.AF_INET if kind == "udp" else socket.AF_UNIX
    with socket.socket(family, socket.SOCK_DGRAM) as server:
        server.settimeout(5)
        if kind == "udp":
            server.bind(("127.0.0.1", 0))
            address = f"udp://127.0.0.1:{server.getsockname()[1]}"
        else:
            server.bind(str(tmp_path / "log"))
            address = f"unix:{tmp_path / 'log'}"

        AuditTrail(tmp_path / "audit", "NODE", configured_syslog(AuditSection(syslog=address))).record(_view())
        datagram = server.recv(65536).decode()

    header, _, body = datagram.partition("\ufeff")
    assert header.startswith("<85>1 2026-03-04T05:06:07.000+00:00 ")
    assert header.split()[3] == "dicom-node"
    assert header.split()[5:] == ["DICOM+RFC3881", "-"]
    assert SCHEMA.validate(etree.fromstring(body.encode()))


def test_trail_that_cannot_be_written_is_told_without_the_patient_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "audit").write_text("in the way")

    with caplog.at_level(logging.ERROR):
        nowhere = configured_syslog(AuditSection(syslog=f"unix:{tmp_path / 'nothing'}"))
        AuditTrail(tmp_path / "audit", "NODE", nowhere).record(_view())

    assert len(caplog.records) == 2
    assert "PID-7" not in caplog.text
