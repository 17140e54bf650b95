"""The list of studies: filtered, newest first, a page at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.database import FindingRow, SeriesRow, StudyRow, UtcDateTime
from dicom_node.domain import Evaluation, StudyState

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TELLING_FIRST = (Evaluation.PRESENT, Evaluation.INDETERMINATE, Evaluation.ABSENT)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page of studies starts: after the study with this arrival and UID, which the previous page ended with."""

    last_received_at: datetime
    study_instance_uid: str

    def __str__(self) -> str:
        return f"{(self.last_received_at - _EPOCH) // _MICROSECOND}-{self.study_instance_uid}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what ``str`` wrote.

        Raises:
            ValueError: ``text`` is not a cursor.
        """
        microseconds, separator, uid = text.partition("-")
        if not (separator and microseconds.isdecimal() and len(microseconds) <= 17):
            raise ValueError("not a page of studies; start again without 'before'")
        return cls(_EPOCH + int(microseconds) * _MICROSECOND, uid)


@dataclass(frozen=True, slots=True)
class FindingSummary:
    """A finding as the list of studies shows it."""

    label: str
    evaluation: Evaluation
    probability: float


@dataclass(frozen=True, slots=True)
class StudySummary:
    """A study as the list shows it, without patient data. ``findings`` are the telling ones first."""

    study_instance_uid: str
    accession_number: str
    study_date: str
    study_description: str
    modalities: tuple[str, ...]
    calling_ae_title: str
    last_received_at: datetime
    state: StudyState
    state_changed_at: datetime
    reason: str
    findings: tuple[FindingSummary, ...]


@dataclass(frozen=True, slots=True)
class StudyPage:
    """Studies, newest first, and the cursor of the page that follows, None at the end."""

    studies: tuple[StudySummary, ...]
    next: str | None


def list_studies(
    session: Session,
    *,
    search: str = "",
    state: StudyState | None = None,
    before: Cursor | None = None,
    limit: int = 50,
) -> StudyPage:
    """Studies by arrival, newest first; ``search`` is the start of an accession number or Study Instance UID."""
    query = sa.select(StudyRow).order_by(StudyRow.last_received_at.desc(), StudyRow.study_instance_uid.desc())
    if search:
        query = query.where(
            StudyRow.accession_number.istartswith(search, autoescape=True)
            | StudyRow.study_instance_uid.startswith(search, autoescape=True)
        )
    if state is not None:
        query = query.where(StudyRow.state == state)
    if before is not None:
        query = query.where(
            sa.tuple_(StudyRow.last_received_at, StudyRow.study_instance_uid)
            < sa.tuple_(sa.literal(before.last_received_at, UtcDateTime()), sa.literal(before.study_instance_uid))
        )
    rows = session.scalars(query.limit(limit + 1)).all()
    shown = rows[:limit]
    modalities = _modalities(session, [row.study_instance_uid for row in shown])
    findings = _finding_summaries(session, [row.latest_analysis_id for row in shown if row.latest_analysis_id])
    studies = tuple(
        StudySummary(
            study_instance_uid=row.study_instance_uid,
            accession_number=row.accession_number,
            study_date=row.study_date,
            study_description=row.study_description,
            modalities=modalities[row.study_instance_uid],
            calling_ae_title=row.calling_ae_title,
            last_received_at=row.last_received_at,
            state=row.state,
            state_changed_at=row.state_changed_at,
            reason=row.reason,
            findings=findings[row.latest_analysis_id or ""],
        )
        for row in shown
    )
    more = len(rows) > limit
    return StudyPage(studies, str(Cursor(shown[-1].last_received_at, shown[-1].study_instance_uid)) if more else None)


def _modalities(session: Session, study_uids: Sequence[str]) -> dict[str, tuple[str, ...]]:
    query = (
        sa.select(SeriesRow.study_instance_uid, SeriesRow.modality)
        .where(SeriesRow.study_instance_uid.in_(study_uids), SeriesRow.modality != "")
        .distinct()
        .order_by(SeriesRow.modality)
    )
    grouped: dict[str, tuple[str, ...]] = defaultdict(tuple)
    for uid, modality in session.execute(query):
        grouped[uid] += (modality,)
    return grouped


def _finding_summaries(session: Session, analysis_ids: Sequence[str]) -> dict[str, tuple[FindingSummary, ...]]:
    query = sa.select(FindingRow.analysis_id, FindingRow.label, FindingRow.evaluation, FindingRow.probability).where(
        FindingRow.analysis_id.in_(analysis_ids)
    )
    grouped: dict[str, tuple[FindingSummary, ...]] = defaultdict(tuple)
    for identity, label, evaluation, probability in session.execute(query):
        summary = FindingSummary(label, evaluation, probability)
        grouped[identity] = tuple(sorted((*grouped[identity], summary), key=telling))
    return grouped


class Judged(Protocol):
    """A finding, as far as its order goes."""

    @property
    def evaluation(self) -> Evaluation:
        """What was said of it."""

    @property
    def probability(self) -> float:
        """How probable it is."""


def telling(finding: Judged) -> tuple[int, float]:
    """What to sort findings by: the telling ones first."""
    return _TELLING_FIRST.index(finding.evaluation), -finding.probability
