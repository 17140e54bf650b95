"""When a study counts as complete: it was quiet long enough, it was released, or it has waited too long."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.config import CompletenessSection
from dicom_node.domain import StudyState
from dicom_node.tables import SeriesRow, StudyRow


@dataclass(frozen=True, slots=True)
class WaitingStudy:
    """A study with images that no analysis has seen yet."""

    study_instance_uid: str
    modalities: frozenset[str]
    last_received_at: datetime
    waiting_since: datetime
    released_at: datetime | None


def complete_because(study: WaitingStudy, settings: CompletenessSection, now: datetime) -> str | None:
    """Why the study counts as complete at ``now``, in words, or None while it may still grow.

    The quiet period is the longest of those of the study's modalities.
    """
    if study.released_at is not None and study.released_at >= study.last_received_at:
        return "released by the sender"
    quiet = max(
        (settings.quiet_seconds.get(modality, settings.default_quiet_seconds) for modality in study.modalities),
        default=settings.default_quiet_seconds,
    )
    if now - study.last_received_at >= timedelta(seconds=quiet):
        return f"no further image for {quiet:g} s"
    if now - study.waiting_since >= timedelta(seconds=settings.maximum_wait_seconds):
        return f"images kept coming for {settings.maximum_wait_seconds:g} s"
    return None


def waiting_studies(session: Session) -> list[WaitingStudy]:
    """All studies that wait to be complete."""
    rows = session.execute(
        sa.select(StudyRow, SeriesRow.modality)
        .outerjoin(SeriesRow)
        .where(StudyRow.state == StudyState.RECEIVING)
        .order_by(StudyRow.waiting_since)
    )
    modalities: dict[str, set[str]] = {}
    studies: dict[str, StudyRow] = {}
    for study, modality in rows:
        studies[study.study_instance_uid] = study
        modalities.setdefault(study.study_instance_uid, set()).add(modality or "")
    return [
        WaitingStudy(
            study_instance_uid=uid,
            modalities=frozenset(modalities[uid]),
            last_received_at=study.last_received_at,
            waiting_since=study.waiting_since or study.last_received_at,
            released_at=study.released_at,
        )
        for uid, study in studies.items()
    ]
