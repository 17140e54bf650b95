"""Reading the trail back, by day and by what a message holds."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from dicom_node.audit import message
from dicom_node.audit.message import Action, AuditEvent, Participant
from dicom_node.audit.reading import read_trail
from dicom_node.audit.trail import AuditTrail

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


def _write(folder: Path, *days: int) -> None:
    trail = AuditTrail(folder, "NODE")
    for day in days:
        somebody = Participant(f"user-{day}", is_requestor=True)
        at = NOON + timedelta(days=day)
        trail.record(AuditEvent(message.USER_AUTHENTICATION, Action.EXECUTE, at, (somebody,), message.LOGIN))


def test_the_events_of_some_days_are_read_newest_first(tmp_path: Path) -> None:
    _write(tmp_path, 0, 1, 2, 3)

    found = [record.by for record in read_trail(tmp_path, date(2026, 3, 5), date(2026, 3, 6))]

    assert found == ["user-2", "user-1"]


def test_any_dates_may_be_asked_for(tmp_path: Path) -> None:
    _write(tmp_path, 0)

    assert len(list(read_trail(tmp_path, date.min, date.max))) == 1
    assert list(read_trail(tmp_path, date.min, date.min)) == []
    assert list(read_trail(tmp_path, date.max, date.min)) == []
    assert list(read_trail(tmp_path / "nothing", date.min, date.max)) == []
