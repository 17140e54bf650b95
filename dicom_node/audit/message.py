"""Audit events and their XML form (PS3.15 A.5, the DICOM profile of RFC 3881)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from xml.sax.saxutils import quoteattr


@dataclass(frozen=True, slots=True)
class AuditCode:
    """A coded value; those here are of the DICOM Controlled Terminology (PS3.16 D)."""

    value: str
    meaning: str


class Action(StrEnum):
    """What was done to the object (PS3.15 A.5.1, EventActionCode)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    EXECUTE = "E"


class Outcome(IntEnum):
    """How it ended (EventOutcomeIndicator)."""

    SUCCESS = 0
    MINOR_FAILURE = 4


APPLICATION_ACTIVITY = AuditCode("110100", "Application Activity")
AUDIT_LOG_USED = AuditCode("110101", "Audit Log Used")
BEGIN_TRANSFERRING = AuditCode("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = AuditCode("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = AuditCode("110104", "DICOM Instances Transferred")
EXPORT = AuditCode("110106", "Export")
QUERY = AuditCode("110112", "Query")
SECURITY_ALERT = AuditCode("110113", "Security Alert")
USER_AUTHENTICATION = AuditCode("110114", "User Authentication")

APPLICATION_START = AuditCode("110120", "Application Start")
APPLICATION_STOP = AuditCode("110121", "Application Stop")
LOGIN = AuditCode("110122", "Login")
LOGOUT = AuditCode("110123", "Logout")
SOFTWARE_CONFIGURATION = AuditCode("110131", "Software Configuration")
USER_SECURITY_ATTRIBUTES_CHANGED = AuditCode("110137", "User Security Attributes Changed")

APPLICATION = AuditCode("110150", "Application")
DESTINATION = AuditCode("110152", "Destination Role ID")
SOURCE = AuditCode("110153", "Source Role ID")

_MACHINE_NAME, _ADDRESS = "1", "2"
_STUDY_INSTANCE_UID = AuditCode("110180", "Study Instance UID")


@dataclass(frozen=True, slots=True)
class Participant:
    """Somebody or something that took part: a user, an API key, an application entity, with its network address."""

    user_id: str
    is_requestor: bool
    role: AuditCode | None = None
    address: str = ""


@dataclass(frozen=True, slots=True)
class AuditedStudy:
    """Whose study it was about. The patient is named by ID alone: an audit trail must tell whose data were seen.

    ``sop_classes`` are those of transferred instances, each with their number.
    """

    study_instance_uid: str
    patient_id: str
    accession_number: str = ""
    sop_classes: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One event. ``note`` says in words what the codes do not."""

    event: AuditCode
    action: Action
    at: datetime
    participants: tuple[Participant, ...]
    event_type: AuditCode | None = None
    outcome: Outcome = Outcome.SUCCESS
    note: str = ""
    study: AuditedStudy | None = None


def to_xml(event: AuditEvent, source_id: str) -> str:
    """The audit message, on one line, with its elements in the order of the schema (PS3.15 A.5.1)."""
    attributes = {
        "EventActionCode": event.action.value,
        "EventDateTime": event.at.isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": str(int(event.outcome)),
    }
    identification = _coded("EventID", event.event)
    if event.event_type is not None:
        identification += _coded("EventTypeCode", event.event_type)
    if event.note:
        identification += _element("EventOutcomeDescription", {}, _text(event.note))
    content = _element("EventIdentification", attributes, identification)
    content += "".join(_participant(participant) for participant in event.participants)
    source = _element("AuditSourceTypeCode", {"csd-code": "4"})  # an application server
    content += _element("AuditSourceIdentification", {"AuditSourceID": source_id}, source)
    if event.study is not None:
        content += _study(event.study)
    return _element("AuditMessage", {}, content)


def _participant(participant: Participant) -> str:
    attributes = {
        "UserID": participant.user_id,
        "UserIsRequestor": str(participant.is_requestor).lower(),
    }
    if participant.address:
        kind = _ADDRESS if _is_address(participant.address) else _MACHINE_NAME
        attributes |= {"NetworkAccessPointID": participant.address, "NetworkAccessPointTypeCode": kind}
    role = _coded("RoleIDCode", participant.role) if participant.role is not None else ""
    return _element("ActiveParticipant", attributes, role)


def _study(study: AuditedStudy) -> str:
    accession = _element("Accession", {"Number": study.accession_number}) if study.accession_number else ""
    described = accession + "".join(
        _element("SOPClass", {"UID": sop_class, "NumberOfInstances": str(count)})
        for sop_class, count in study.sop_classes
    )
    description = _element("ParticipantObjectDescription", {}, described) if described else ""
    return _element(
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": study.study_instance_uid,
            "ParticipantObjectTypeCode": "2",
            "ParticipantObjectTypeCodeRole": "3",
        },
        _coded("ParticipantObjectIDTypeCode", _STUDY_INSTANCE_UID)
        + _element("ParticipantObjectName", {}, "study")
        + description,
    ) + _element(
        "ParticipantObjectIdentification",
        {
            "ParticipantObjectID": study.patient_id,
            "ParticipantObjectTypeCode": "1",
            "ParticipantObjectTypeCodeRole": "1",
        },
        _coded("ParticipantObjectIDTypeCode", AuditCode("2", "Patient Number"), "RFC-3881")
        + _element("ParticipantObjectName", {}, "not recorded"),
    )


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _coded(name: str, code: AuditCode, system: str = "DCM") -> str:
    return _element(name, {"csd-code": code.value, "codeSystemName": system, "originalText": code.meaning})


def _element(name: str, attributes: dict[str, str], content: str = "") -> str:
    written = "".join(f" {key}={quoteattr(_printable(value))}" for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def _text(value: str) -> str:
    return _printable(value).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _printable(value: str) -> str:
    """Without what XML cannot hold and what would begin another line of the file."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in value)
