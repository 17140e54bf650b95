"""The list of studies: filtered, newest first, a page at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol, Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.domain import Evaluation, StudyState
from dicom_node.tables import DecisionRow, FindingRow, SeriesRow, StudyRow, UtcDateTime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
_LAST = "\U0010ffff"
_SELECTIVE, _SELECTIVE_UID = 4, 25  # characters; every UID of a hospital begins alike
WINDOW = 5000
"""How many studies are looked through at most for what no index answers."""
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


@dataclass(frozen=True, slots=True)
class StudyFilter:
    """Which studies are wanted; what is empty does not matter.

    ``search`` is the start of an accession number or of a Study Instance UID, ``patient`` of a patient's name or ID,
    for roles that see patients only. ``received_from`` and ``received_before`` bound the last arrival. ``model`` has
    read a series in the latest analysis; ``modality`` is of one of the series.
    """

    search: str = ""
    patient: str = ""
    state: StudyState | None = None
    source: str = ""
    modality: str = ""
    model: str = ""
    received_from: datetime | None = None
    received_before: datetime | None = None


def list_studies(
    session: Session, wanted: StudyFilter | None = None, *, before: Cursor | None = None, limit: int = 50
) -> StudyPage:
    """Studies by arrival, newest first.

    What an index answers is asked of the index. Any other combination is looked for among the next ``WINDOW`` studies,
    so that no question reads the whole table: such a page may hold fewer than ``limit`` studies, even none, and still
    have a next one.
    """
    wanted = wanted or StudyFilter()
    arrived = _arrived(wanted, before)
    dialect = session.get_bind().dialect.name
    order = (StudyRow.last_received_at.desc(), StudyRow.study_instance_uid.desc())
    listed, windowed = StudyRow, False
    query = sa.select(StudyRow).where(*arrived)
    if _is_selective(wanted):
        found = sa.union(*_lookups(wanted, dialect)).subquery()
        query = query.join(found, found.c.study_instance_uid == StudyRow.study_instance_uid)
    elif not _has_index(wanted):
        windowed = True
        listed = sa.orm.aliased(StudyRow, query.order_by(*order).limit(WINDOW).subquery())
        query = sa.select(listed)
    query = query.where(*_conditions(listed, wanted, dialect))
    newest = (listed.last_received_at.desc(), listed.study_instance_uid.desc())
    rows = session.scalars(query.order_by(*newest).limit(limit + 1)).all()
    shown = rows[:limit]
    following = _cursor_of(shown[-1]) if len(rows) > limit else None
    if windowed and following is None:
        last = session.scalars(sa.select(StudyRow).where(*arrived).order_by(*order).offset(WINDOW - 1).limit(1)).first()
        following = _cursor_of(last) if last is not None else None
    return StudyPage(_summaries(session, shown), str(following) if following else None)


def _cursor_of(row: StudyRow) -> Cursor:
    return Cursor(row.last_received_at, row.study_instance_uid)


def _arrived(wanted: StudyFilter, before: Cursor | None) -> list[sa.ColumnElement[bool]]:
    """When the studies arrived; always bounded, so that the database enters its index by a value."""
    latest = wanted.received_before or _FOREVER
    found = [StudyRow.last_received_at < latest]
    if wanted.received_from is not None:
        found.append(StudyRow.last_received_at >= wanted.received_from)
    if before is not None:
        found.append(
            sa.tuple_(StudyRow.last_received_at, StudyRow.study_instance_uid)
            < sa.tuple_(sa.literal(before.last_received_at, UtcDateTime()), sa.literal(before.study_instance_uid))
        )
    return found


def _lookups(wanted: StudyFilter, dialect: str) -> list[sa.Select[str]]:
    """What finds the few studies that a search is for: a range of an index each, which together are no guess."""
    columns: list[sa.orm.InstrumentedAttribute[str]] = [StudyRow.patient_id, StudyRow.patient_name]
    text = wanted.patient
    if len(text) < _SELECTIVE:
        columns, text = [_searched(StudyRow, wanted.search)], wanted.search
    return [sa.select(StudyRow.study_instance_uid).where(_starts_with([column], text, dialect)) for column in columns]


def _conditions(listed: type[StudyRow], wanted: StudyFilter, dialect: str) -> list[sa.ColumnElement[bool]]:
    found: list[sa.ColumnElement[bool]] = []
    if wanted.search:
        found.append(_starts_with([_searched(listed, wanted.search)], wanted.search, dialect))
    if wanted.patient:
        found.append(_starts_with([listed.patient_id, listed.patient_name], wanted.patient, dialect))
    if wanted.state is not None:
        found.append(listed.state == wanted.state)
    if wanted.source:
        found.append(listed.calling_ae_title == wanted.source)
    if wanted.modality:
        found.append(
            sa.exists().where(
                SeriesRow.study_instance_uid == listed.study_instance_uid, SeriesRow.modality == wanted.modality
            )
        )
    if wanted.model:
        found.append(
            sa.exists().where(DecisionRow.analysis_id == listed.latest_analysis_id, DecisionRow.model == wanted.model)
        )
    return found


def _searched(listed: type[StudyRow], text: str) -> sa.orm.InstrumentedAttribute[str]:
    return listed.study_instance_uid if _is_uid(text) else listed.accession_number


def _is_selective(wanted: StudyFilter) -> bool:
    """Whether few studies can match: the search is long enough."""
    least = _SELECTIVE_UID if _is_uid(wanted.search) else _SELECTIVE
    return len(wanted.search) >= least or len(wanted.patient) >= _SELECTIVE


def _has_index(wanted: StudyFilter) -> bool:
    """Whether an index leads to what matches in the order that is wanted."""
    others = (wanted.search, wanted.patient, wanted.modality, wanted.model)
    return not any(others) and (wanted.state is None or not wanted.source)


def _is_uid(text: str) -> bool:
    return "." in text and text.replace(".", "").isdecimal()


def _starts_with(
    columns: Sequence[sa.orm.InstrumentedAttribute[str]], text: str, dialect: str
) -> sa.ColumnElement[bool]:
    """As typed, in upper and in title case, which is how the values are written; each a range of the index."""
    starts = {text, text.upper(), text.title()}
    if dialect == "sqlite":  # whose LIKE ignores case, and the index with it
        return sa.or_(
            *(sa.and_(column >= text, column < text + _LAST) for column in columns for text in sorted(starts))
        )
    return sa.or_(*(column.startswith(text, autoescape=True) for column in columns for text in sorted(starts)))


def _summaries(session: Session, rows: Sequence[StudyRow]) -> tuple[StudySummary, ...]:
    modalities = _modalities(session, [row.study_instance_uid for row in rows])
    findings = _finding_summaries(session, [row.latest_analysis_id for row in rows if row.latest_analysis_id])
    return tuple(
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
        for row in rows
    )


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
