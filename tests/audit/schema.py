"""The schema that audit messages are held to."""

from __future__ import annotations

from pathlib import Path

from lxml import etree

SCHEMA = etree.RelaxNG(file=str(Path(__file__).with_name("schema.rng")))


def read_messages(folder: Path) -> list[etree._Element]:
    """The messages of an audit folder, each held to the schema of PS3.15 A.5.1."""
    lines = [line for path in sorted(folder.glob("*.log")) for line in path.read_text("utf-8").splitlines()]
    messages = [etree.fromstring(line.encode()) for line in lines]
    for message in messages:
        assert SCHEMA.validate(message), (SCHEMA.error_log, etree.tostring(message))
    return messages


def event_of(message: etree._Element) -> tuple[str, str, str, str]:
    """Event, type, outcome and requestor of a message."""
    event = message.find("EventIdentification")
    kind = event.find("EventTypeCode")
    return (
        event.find("EventID").get("originalText"),
        "" if kind is None else kind.get("originalText"),
        event.get("EventOutcomeIndicator"),
        message.find("ActiveParticipant").get("UserID"),
    )
