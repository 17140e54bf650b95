"""Reads the audit trail's files back: newest first, what matches, a day a file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from xml.etree import ElementTree

from dicom_node.audit.message import Outcome


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One event as people read it. ``by`` is who asked for it, ``note`` what the codes do not say."""

    at: str
    event: str
    kind: str
    action: str
    succeeded: bool
    by: str
    address: str
    study_instance_uid: str
    accession_number: str
    patient_id: str
    note: str


def read_trail(folder: Path, first: date, last: date, text: str = "") -> Iterator[AuditRecord]:
    """The events of the days ``first`` to ``last`` (UTC) in whose message ``text`` occurs, newest first.

    A line that is no message, such as one cut short by a full disk, is left out.
    """
    for path in sorted(folder.glob("*.log"), reverse=True):
        if first.isoformat() <= path.stem <= last.isoformat():
            yield from _of_day(path, text.casefold())


def _of_day(path: Path, text: str) -> Iterator[AuditRecord]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return
    for line in reversed(lines):
        if text and text not in line.casefold():
            continue
        try:
            yield _record(ElementTree.fromstring(line))  # noqa: S314 - the node itself has written it
        except (ElementTree.ParseError, KeyError):
            continue


def _record(message: ElementTree.Element) -> AuditRecord:
    event = message.find("EventIdentification")
    if event is None:
        raise KeyError("EventIdentification")
    somebody = next(
        (each for each in message.iter("ActiveParticipant") if each.get("UserIsRequestor") == "true"),
        ElementTree.Element("ActiveParticipant"),
    )
    objects = {each.get("ParticipantObjectTypeCode"): each for each in message.iter("ParticipantObjectIdentification")}
    accession = message.find(".//Accession")
    return AuditRecord(
        at=event.attrib["EventDateTime"],
        event=_meaning(event, "EventID"),
        kind=_meaning(event, "EventTypeCode"),
        action=event.get("EventActionCode", ""),
        succeeded=event.get("EventOutcomeIndicator") == str(int(Outcome.SUCCESS)),
        by=somebody.get("UserID", ""),
        address=somebody.get("NetworkAccessPointID", ""),
        study_instance_uid=objects["2"].get("ParticipantObjectID", "") if "2" in objects else "",
        accession_number=accession.get("Number", "") if accession is not None else "",
        patient_id=objects["1"].get("ParticipantObjectID", "") if "1" in objects else "",
        note=event.findtext("EventOutcomeDescription", ""),
    )


def _meaning(event: ElementTree.Element, name: str) -> str:
    code = event.find(name)
    return code.get("originalText", "") if code is not None else ""
