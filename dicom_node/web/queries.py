"""The questions that pages and API ask of the database: each a constant number of statements, typed answers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.audit.message import AuditedStudy
from dicom_node.database import (
    AnalysisRow,
    DecisionRow,
    DeliveryRow,
    EventRow,
    FindingRow,
    InstanceRow,
    RefusalRow,
    ResultRow,
    SeriesRow,
    StudyRow,
    UtcDateTime,
)
from dicom_node.domain import DeliveryState, Evaluation, ResultKind, StudyState

IN_PROGRESS = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYSING, StudyState.DELIVERING)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_TELLING_FIRST = (Evaluation.PRESENT, Evaluation.INDETERMINATE, Evaluation.ABSENT)
_TURNAROUND_SAMPLE = 500


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
class SeriesDetail:
    """A received series and how many instances of it are held."""

    series_instance_uid: str
    modality: str
    series_number: int | None
    series_description: str
    instances: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Which model reads a series, or in a sentence why none does."""

    series_instance_uid: str
    model: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class FindingDetail:
    """A finding with everything that explains it; ``image_probabilities`` are in the order of the stack."""

    series_instance_uid: str
    model: str
    model_version: str
    weights_digest: str
    label: str
    probability: float
    operating_point: str
    threshold: float
    evaluation: Evaluation
    key_sop_instance_uid: str
    key_frame_number: int | None
    image_probabilities: tuple[float, ...]
    class_probabilities: dict[str, float]
    device: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Delivery:
    """One result object on its way to one destination; ``status`` is the DIMSE status of the last answer."""

    destination: str
    state: DeliveryState
    attempts: int
    status: int | None
    message: str
    last_attempt_at: datetime | None
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    committed_at: datetime | None


@dataclass(frozen=True, slots=True)
class ResultDetail:
    """One DICOM object that the node made, and where it went."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    model: str
    kind: ResultKind
    deliveries: tuple[Delivery, ...]


@dataclass(frozen=True, slots=True)
class AnalysisDetail:
    """One analysis of a study: what was decided, found, made and sent."""

    analysis_id: str
    state: StudyState
    reason: str
    last_image_at: datetime
    created_at: datetime
    finished_at: datetime | None
    decisions: tuple[Decision, ...]
    findings: tuple[FindingDetail, ...]
    results: tuple[ResultDetail, ...]


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """One line of a study's timeline."""

    at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class StudyDetail:
    """Everything about one study, patient included. ``analyses`` are newest first; the others are superseded."""

    study_instance_uid: str
    patient_name: str
    patient_id: str
    accession_number: str
    study_date: str
    study_description: str
    calling_ae_title: str
    first_received_at: datetime
    last_received_at: datetime
    released_at: datetime | None
    removed_at: datetime | None
    state: StudyState
    state_changed_at: datetime
    reason: str
    series: tuple[SeriesDetail, ...]
    analyses: tuple[AnalysisDetail, ...]
    events: tuple[TimelineEvent, ...]

    @property
    def audited(self) -> AuditedStudy:
        """What an audit event tells of it."""
        return AuditedStudy(self.study_instance_uid, self.patient_id, self.accession_number)

    def without_patient(self) -> Self:
        """The same without the patient's name and ID."""
        return replace(self, patient_name="", patient_id="")


@dataclass(frozen=True, slots=True)
class Backlog:
    """Results that did not reach a destination: how many, and the newest of them with the peer's words."""

    destination: str
    state: DeliveryState
    count: int
    attempts: int
    message: str
    next_attempt_at: datetime | None
    study_instance_uid: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The node's work in figures. ``ended`` counts studies that arrived in the period asked for.

    ``turnaround_seconds`` is the median from last image to delivered, None where nothing was delivered.
    ``queued_since`` is the oldest moment at which a study still queued was queued.
    """

    in_progress: dict[StudyState, int]
    ended: dict[StudyState, int]
    turnaround_seconds: float | None
    queued_since: datetime | None
    backlogs: tuple[Backlog, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """What the receiver refused a peer, ``count`` times in a minute: associations (``status`` None) or objects.

    ``code`` is the reason's value, ``reason`` its words; see ``receive/refusal.py``.
    """

    id: int
    at: datetime
    calling_ae_title: str
    address: str
    sop_instance_uid: str
    status: int | None
    code: str
    reason: str
    count: int


@dataclass(frozen=True, slots=True)
class RefusalPage:
    """Refusals, newest first, and the ``before`` of the page that follows, None at the end."""

    refusals: tuple[Refusal, ...]
    next: int | None


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
        grouped[identity] = tuple(sorted((*grouped[identity], summary), key=_telling))
    return grouped


def _telling(finding: FindingSummary | FindingDetail) -> tuple[int, float]:
    return _TELLING_FIRST.index(finding.evaluation), -finding.probability


def get_study(session: Session, study_instance_uid: str) -> StudyDetail | None:
    """Everything about one study, or None where it is not known."""
    row = session.get(StudyRow, study_instance_uid)
    if row is None:
        return None
    events = session.scalars(
        sa.select(EventRow).where(EventRow.study_instance_uid == study_instance_uid).order_by(EventRow.at, EventRow.id)
    )
    return StudyDetail(
        study_instance_uid=row.study_instance_uid,
        patient_name=row.patient_name,
        patient_id=row.patient_id,
        accession_number=row.accession_number,
        study_date=row.study_date,
        study_description=row.study_description,
        calling_ae_title=row.calling_ae_title,
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        released_at=row.released_at,
        removed_at=row.removed_at,
        state=row.state,
        state_changed_at=row.state_changed_at,
        reason=row.reason,
        series=_series(session, study_instance_uid),
        analyses=_analyses(session, study_instance_uid),
        events=tuple(TimelineEvent(event.at, event.text) for event in events),
    )


def _series(session: Session, study_instance_uid: str) -> tuple[SeriesDetail, ...]:
    query = (
        sa.select(SeriesRow, sa.func.count(InstanceRow.id))
        .outerjoin(InstanceRow, InstanceRow.series_instance_uid == SeriesRow.series_instance_uid)
        .where(SeriesRow.study_instance_uid == study_instance_uid)
        .group_by(SeriesRow.series_instance_uid)
        .order_by(SeriesRow.series_number, SeriesRow.series_instance_uid)
    )
    return tuple(
        SeriesDetail(row.series_instance_uid, row.modality, row.series_number, row.series_description, instances)
        for row, instances in session.execute(query)
    )


def _analyses(session: Session, study_instance_uid: str) -> tuple[AnalysisDetail, ...]:
    rows = session.scalars(
        sa.select(AnalysisRow)
        .where(AnalysisRow.study_instance_uid == study_instance_uid)
        .order_by(AnalysisRow.created_at.desc(), AnalysisRow.last_instance_id.desc())
    ).all()
    identities = [row.analysis_id for row in rows]
    decisions = _decisions(session, identities)
    findings = _findings(session, identities)
    results = _results(session, identities)
    return tuple(
        AnalysisDetail(
            analysis_id=row.analysis_id,
            state=row.state,
            reason=row.reason,
            last_image_at=row.last_image_at,
            created_at=row.created_at,
            finished_at=row.finished_at,
            decisions=decisions[row.analysis_id],
            findings=findings[row.analysis_id],
            results=results[row.analysis_id],
        )
        for row in rows
    )


def _decisions(session: Session, analysis_ids: Iterable[str]) -> dict[str, tuple[Decision, ...]]:
    query = sa.select(DecisionRow).where(DecisionRow.analysis_id.in_(analysis_ids)).order_by(DecisionRow.id)
    grouped: dict[str, tuple[Decision, ...]] = defaultdict(tuple)
    for row in session.scalars(query):
        grouped[row.analysis_id] += (Decision(row.series_instance_uid, row.model, row.reason),)
    return grouped


def _findings(session: Session, analysis_ids: Iterable[str]) -> dict[str, tuple[FindingDetail, ...]]:
    query = sa.select(FindingRow).where(FindingRow.analysis_id.in_(analysis_ids)).order_by(FindingRow.id)
    grouped: dict[str, list[FindingDetail]] = defaultdict(list)
    for row in session.scalars(query):
        grouped[row.analysis_id].append(
            FindingDetail(
                series_instance_uid=row.series_instance_uid,
                model=row.model,
                model_version=row.model_version,
                weights_digest=row.weights_digest,
                label=row.label,
                probability=row.probability,
                operating_point=row.operating_point,
                threshold=row.threshold,
                evaluation=row.evaluation,
                key_sop_instance_uid=row.key_sop_instance_uid,
                key_frame_number=row.key_frame_number,
                image_probabilities=tuple(row.image_probabilities),
                class_probabilities=row.class_probabilities,
                device=row.device,
                seconds=row.seconds,
            )
        )
    return defaultdict(tuple, {key: tuple(sorted(found, key=_telling)) for key, found in grouped.items()})


def _results(session: Session, analysis_ids: Sequence[str]) -> dict[str, tuple[ResultDetail, ...]]:
    deliveries: dict[str, tuple[Delivery, ...]] = defaultdict(tuple)
    for sent in session.scalars(
        sa.select(DeliveryRow).where(DeliveryRow.analysis_id.in_(analysis_ids)).order_by(DeliveryRow.destination)
    ):
        deliveries[sent.sop_instance_uid] += (
            Delivery(
                destination=sent.destination,
                state=sent.state,
                attempts=sent.attempts,
                status=sent.status,
                message=sent.message,
                last_attempt_at=sent.last_attempt_at,
                next_attempt_at=sent.next_attempt_at,
                delivered_at=sent.delivered_at,
                committed_at=sent.committed_at,
            ),
        )
    grouped: dict[str, tuple[ResultDetail, ...]] = defaultdict(tuple)
    for made in session.scalars(
        sa.select(ResultRow).where(ResultRow.analysis_id.in_(analysis_ids)).order_by(ResultRow.id)
    ):
        grouped[made.analysis_id] += (
            ResultDetail(
                sop_instance_uid=made.sop_instance_uid,
                sop_class_uid=made.sop_class_uid,
                series_instance_uid=made.series_instance_uid,
                model=made.model,
                kind=made.kind,
                deliveries=deliveries[made.sop_instance_uid],
            ),
        )
    return grouped


def result_files(session: Session, study_instance_uid: str) -> dict[str, str]:
    """Where a study's result objects lie, relative to the results folder, by SOP Instance UID."""
    query = (
        sa.select(ResultRow.sop_instance_uid, ResultRow.path)
        .join(AnalysisRow, AnalysisRow.analysis_id == ResultRow.analysis_id)
        .where(AnalysisRow.study_instance_uid == study_instance_uid)
    )
    return dict(session.execute(query).all())


def get_overview(session: Session, *, since: datetime, parked_since: datetime) -> Overview:
    """The node's work in figures, of what ended at or after ``since``."""
    in_progress = session.execute(
        sa.select(StudyRow.state, sa.func.count(), sa.func.min(StudyRow.state_changed_at))
        .where(StudyRow.state.in_(IN_PROGRESS))
        .group_by(StudyRow.state)
    ).all()
    # Counted here: to group in SQL, SQLite would walk the index of states through the whole table.
    arrived = Counter(session.scalars(sa.select(StudyRow.state).where(StudyRow.last_received_at >= since)))
    return Overview(
        in_progress={state: count for state, count, _ in in_progress},
        ended={state: count for state, count in arrived.items() if state not in IN_PROGRESS},
        turnaround_seconds=_turnaround(session, since),
        queued_since=next((oldest for state, _, oldest in in_progress if state is StudyState.QUEUED), None),
        backlogs=get_backlogs(session, parked_since=parked_since),
    )


def _turnaround(session: Session, since: datetime) -> float | None:
    query = (
        sa.select(AnalysisRow.last_image_at, AnalysisRow.finished_at)
        .join(StudyRow, StudyRow.latest_analysis_id == AnalysisRow.analysis_id)
        .where(StudyRow.last_received_at >= since, AnalysisRow.state == StudyState.DELIVERED)
        .order_by(StudyRow.last_received_at.desc())
        .limit(_TURNAROUND_SAMPLE)
    )
    seconds = [(finished - last).total_seconds() for last, finished in session.execute(query) if finished]
    return median(seconds) if seconds else None


def get_backlogs(session: Session, *, parked_since: datetime) -> tuple[Backlog, ...]:
    """What waits for a destination: everything that is retried, and what was parked at or after ``parked_since``."""
    group = (DeliveryRow.destination, DeliveryRow.state)
    ranked = (
        sa.select(
            DeliveryRow.id,
            sa.func.count().over(partition_by=group).label("results"),
            sa.func.row_number()
            .over(partition_by=group, order_by=(DeliveryRow.last_attempt_at.desc(), DeliveryRow.id.desc()))
            .label("rank"),
        )
        .where(
            DeliveryRow.state.in_((DeliveryState.RETRYING, DeliveryState.PARKED)),
            (DeliveryRow.state == DeliveryState.RETRYING) | (DeliveryRow.last_attempt_at >= parked_since),
        )
        .subquery()
    )
    query = (
        sa.select(DeliveryRow, ranked.c.results, AnalysisRow.study_instance_uid)
        .join(ranked, ranked.c.id == DeliveryRow.id)
        .join(AnalysisRow, AnalysisRow.analysis_id == DeliveryRow.analysis_id)
        .where(ranked.c.rank == 1)
        .order_by(DeliveryRow.state, DeliveryRow.destination)
    )
    return tuple(
        Backlog(
            destination=row.destination,
            state=row.state,
            count=count,
            attempts=row.attempts,
            message=row.message,
            next_attempt_at=row.next_attempt_at,
            study_instance_uid=study_instance_uid,
        )
        for row, count, study_instance_uid in session.execute(query)
    )


def list_refusals(session: Session, *, before: int | None = None, limit: int = 50) -> RefusalPage:
    """Refusals, newest first; ``before`` is the ``next`` of the previous page."""
    query = sa.select(RefusalRow).order_by(RefusalRow.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(RefusalRow.id < before)
    rows = session.scalars(query).all()
    refusals = tuple(
        Refusal(
            id=row.id,
            at=row.at,
            calling_ae_title=row.calling_ae_title,
            address=row.address,
            sop_instance_uid=row.sop_instance_uid,
            status=row.status,
            code=row.code,
            reason=row.reason,
            count=row.count,
        )
        for row in rows[:limit]
    )
    return RefusalPage(refusals, refusals[-1].id if len(rows) > limit else None)


def count_refusals(session: Session, since: datetime) -> int:
    """How much was refused at or after ``since``."""
    return session.scalar(sa.select(sa.func.sum(RefusalRow.count)).where(RefusalRow.at >= since)) or 0


def audited_study(session: Session, study_instance_uid: str) -> AuditedStudy:
    """What an audit event tells of a study; an unknown study has a UID only."""
    row = session.get(StudyRow, study_instance_uid)
    if row is None:
        return AuditedStudy(study_instance_uid, "")
    return AuditedStudy(study_instance_uid, row.patient_id, row.accession_number)
