"""Everything about one study, patient included."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Self

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.audit.message import AuditedStudy
from dicom_node.domain import DeliveryState, Evaluation, ResultKind, StudyState
from dicom_node.lifecycle.feedback import subject, verdicts_of
from dicom_node.tables import (
    AnalysisRow,
    DecisionRow,
    DeliveryRow,
    EventRow,
    FindingRow,
    InstanceRow,
    ResultRow,
    SeriesRow,
    StudyRow,
)
from dicom_node.web.queries.studies import telling


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
class Verdict:
    """What one reader says of a finding."""

    reader: str
    right: bool
    note: str
    at: datetime


@dataclass(frozen=True, slots=True)
class FindingDetail:
    """A finding with everything that explains it; ``image_probabilities`` are in the order of the stack."""

    id: int
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
    verdicts: tuple[Verdict, ...] = ()


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


def _findings(session: Session, analysis_ids: Sequence[str]) -> dict[str, tuple[FindingDetail, ...]]:
    query = sa.select(FindingRow).where(FindingRow.analysis_id.in_(analysis_ids)).order_by(FindingRow.id)
    verdicts = verdicts_of(session, analysis_ids)
    grouped: dict[str, list[FindingDetail]] = defaultdict(list)
    for row in session.scalars(query):
        grouped[row.analysis_id].append(
            FindingDetail(
                id=row.id,
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
                verdicts=tuple(
                    Verdict(one.reader, one.right, one.note, one.at) for one in verdicts.get(subject(row), ())
                ),
            )
        )
    return defaultdict(
        tuple,
        {key: tuple(sorted(found, key=telling)) for key, found in grouped.items()},
    )


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


def audited_study(session: Session, study_instance_uid: str) -> AuditedStudy:
    """What an audit event tells of a study; an unknown study has a UID only."""
    row = session.get(StudyRow, study_instance_uid)
    if row is None:
        return AuditedStudy(study_instance_uid, "")
    return AuditedStudy(study_instance_uid, row.patient_id, row.accession_number)


def instance_path(session: Session, study_instance_uid: str, sop_instance_uid: str) -> str | None:
    """Where an instance of a study lies, relative to the instances folder; None where it is not held."""
    return session.scalar(
        sa.select(InstanceRow.path).where(
            InstanceRow.sop_instance_uid == sop_instance_uid, InstanceRow.study_instance_uid == study_instance_uid
        )
    )


def middle_instance_path(session: Session, study_instance_uid: str, series_instance_uid: str) -> str | None:
    """Where the middle instance of a series lies, in the order of arrival; None where none is held."""
    of_series = (
        InstanceRow.series_instance_uid == series_instance_uid,
        InstanceRow.study_instance_uid == study_instance_uid,
    )
    count = session.scalar(sa.select(sa.func.count()).where(*of_series)) or 0
    return session.scalar(sa.select(InstanceRow.path).where(*of_series).order_by(InstanceRow.id).offset(count // 2))
