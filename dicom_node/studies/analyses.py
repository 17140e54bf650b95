"""The rows of an analysis: what it was asked, what it decided, what it found, and how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.database import now
from dicom_node.domain import (
    AnalysisIdentity,
    ImageStack,
    ModelIdentity,
    Reading,
    ResultObject,
    SeriesDecision,
    StudyState,
)
from dicom_node.tables import AnalysisRow, DecisionRow, EventRow, FindingRow, InstanceRow, ResultRow, StudyRow

ENDED = (StudyState.DELIVERED, StudyState.NOT_APPLICABLE, StudyState.FAILED, StudyState.CANCELLED)


@dataclass(frozen=True, slots=True)
class AnalysisInput:
    """What there is to analyse of a study: its analysable instances up to ``last_instance_id``."""

    sop_instance_uids: tuple[str, ...]
    last_instance_id: int


def analysis_input(session: Session, study_instance_uid: str, last_instance_id: int | None = None) -> AnalysisInput:
    """The analysable instances of a study, up to ``last_instance_id`` in order of arrival where that is given."""
    query = (
        sa.select(InstanceRow.id, InstanceRow.sop_instance_uid)
        .where(InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.analysable)
        .order_by(InstanceRow.id)
    )
    if last_instance_id is not None:
        query = query.where(InstanceRow.id <= last_instance_id)
    rows = session.execute(query).all()
    return AnalysisInput(tuple(uid for _, uid in rows), max((number for number, _ in rows), default=0))


def analysis_id(study_instance_uid: str, input_digest: str) -> str:
    """The name of the analysis of a study with these inputs: asking twice is asking once."""
    return f"{study_instance_uid}-{input_digest[:16]}"


def open_analysis(session: Session, study_instance_uid: str, input_digest: str, last_instance_id: int) -> AnalysisRow:
    """Begin an analysis, or find it begun; images that were removed and came again have other numbers than before."""
    name = analysis_id(study_instance_uid, input_digest)
    row = session.get(AnalysisRow, name)
    if row is None:
        last_image_at = session.scalar(
            sa.select(sa.func.max(InstanceRow.received_at)).where(
                InstanceRow.study_instance_uid == study_instance_uid, InstanceRow.id <= last_instance_id
            )
        )
        at = now()
        row = AnalysisRow(
            analysis_id=name,
            study_instance_uid=study_instance_uid,
            input_digest=input_digest,
            last_instance_id=last_instance_id,
            last_image_at=last_image_at or at,
            state=StudyState.QUEUED,
            created_at=at,
        )
        session.add(row)
        session.flush()
    row.last_instance_id = last_instance_id
    return row


def ask_again(session: Session, study: StudyRow, input_digest: str, last_instance_id: int, at: datetime) -> None:
    """Let the study wait for a worker to analyse what is held once more; the watcher begins it."""
    row = open_analysis(session, study.study_instance_uid, input_digest, last_instance_id)
    row.state, row.reason, row.interrupted = StudyState.QUEUED, "", 0
    row.finished_at, row.asked_again_at = None, at
    study.state, study.reason, study.state_changed_at = StudyState.QUEUED, "", at
    study.waiting_since, study.latest_analysis_id = None, row.analysis_id


def reopen(session: Session, name: str, state: StudyState) -> None:
    """Move an analysis that has ended, even one that was cancelled, back to ``state``, and its study with it."""
    row = session.get_one(AnalysisRow, name)
    row.state, row.finished_at = state, None
    set_state(session, name, state)


def identity(
    session: Session, name: str, model: ModelIdentity, series_instance_uid: str, points: Mapping[str, str]
) -> AnalysisIdentity:
    """What the results of one model on one series are derived from.

    The predecessor is the latest earlier analysis in which the same model, with the same weights and at the same
    operating ``points``, read the same series: only then is there a report that the new one supersedes.
    """
    row = session.get_one(AnalysisRow, name)
    earlier = session.execute(
        sa.select(AnalysisRow.input_digest, FindingRow.name, FindingRow.operating_point)
        .join(FindingRow)
        .where(
            AnalysisRow.study_instance_uid == row.study_instance_uid,
            AnalysisRow.created_at < row.created_at,
            FindingRow.series_instance_uid == series_instance_uid,
            FindingRow.model == model.name,
            FindingRow.model_version == model.version,
            FindingRow.weights_digest == model.weights_digest,
        )
        .order_by(AnalysisRow.created_at.desc())
    )
    same: dict[str, bool] = {}
    for digest, finding, point in earlier:
        same[digest] = same.get(digest, True) and points.get(finding, point) == point
    predecessor = next((digest for digest, is_same in same.items() if is_same), None)
    return AnalysisIdentity(row.study_instance_uid, row.input_digest, row.created_at, predecessor)


def mark_queued(session: Session, study_instance_uid: str, last_received_at: datetime, name: str) -> bool:
    """Say that the analysis ``name`` waits for a worker; false if another image came meanwhile.

    A worker may have taken it up already, or even be through with it: then the study shows how far it is.
    """
    changed = session.execute(
        sa.update(StudyRow)
        .where(
            StudyRow.study_instance_uid == study_instance_uid,
            StudyRow.state == StudyState.RECEIVING,
            StudyRow.last_received_at == last_received_at,
        )
        .values(state=StudyState.QUEUED, state_changed_at=now(), latest_analysis_id=name, waiting_since=None)
        .returning(StudyRow.study_instance_uid)
    ).all()
    if changed and session.get(AnalysisRow, name) is not None:
        resume_state(session, study_instance_uid, name)
    return bool(changed)


def resume_state(session: Session, study_instance_uid: str, name: str) -> None:
    """Nothing new came after all: show the state of the analysis that there is."""
    study = session.get_one(StudyRow, study_instance_uid, with_for_update=True)
    analysis = session.get_one(AnalysisRow, name)
    study.state, study.reason = analysis.state, analysis.reason
    study.waiting_since, study.latest_analysis_id, study.state_changed_at = None, name, now()


def set_state(session: Session, name: str, state: StudyState, reason: str = "") -> None:
    """Move an analysis on, and its study with it unless newer images have taken the study over.

    One that was cancelled stays so.
    """
    session.flush()  # what is locked is read anew
    analysis = session.get_one(AnalysisRow, name, with_for_update=True, populate_existing=True)
    if analysis.state is StudyState.CANCELLED:
        return
    analysis.state, analysis.reason = state, reason
    if state in ENDED:
        analysis.finished_at = analysis.finished_at or now()
    study = session.get_one(StudyRow, analysis.study_instance_uid, with_for_update=True)
    if study.latest_analysis_id == name and study.state is not StudyState.RECEIVING:
        if study.state is not state:
            study.state_changed_at = now()
        study.state, study.reason = state, reason


@dataclass(frozen=True, slots=True)
class UnfinishedStudy:
    """A study that is queued or being analysed; ``asked_again_at`` where it waits to be analysed once more."""

    study_instance_uid: str
    analysis_id: str
    asked_again_at: datetime | None


def unfinished_studies(session: Session) -> list[UnfinishedStudy]:
    """All studies that are queued or being analysed."""
    rows = session.execute(
        sa.select(StudyRow.study_instance_uid, StudyRow.latest_analysis_id, StudyRow.state, AnalysisRow.asked_again_at)
        .outerjoin(AnalysisRow, AnalysisRow.analysis_id == StudyRow.latest_analysis_id)
        .where(StudyRow.state.in_((StudyState.QUEUED, StudyState.ANALYSING)))
    )
    return [
        UnfinishedStudy(uid, name, asked if state is StudyState.QUEUED else None)
        for uid, name, state, asked in rows
        if name is not None
    ]


def give_up(session: Session, study_instance_uid: str, name: str, reason: str) -> None:
    """End a study whose analysis ``name`` ended without saying how, perhaps before it wrote its first row."""
    study = session.get_one(StudyRow, study_instance_uid)
    if study.latest_analysis_id != name or study.state not in (StudyState.QUEUED, StudyState.ANALYSING):
        return
    if session.get(AnalysisRow, name) is not None:
        set_state(session, name, StudyState.FAILED, reason)
    study.state, study.reason, study.state_changed_at = StudyState.FAILED, reason, now()
    add_event(session, study_instance_uid, reason)


def add_event(session: Session, study_instance_uid: str, text: str, since: datetime | None = None) -> None:
    """Add a line to the study's timeline; a replayed step, which knows ``since`` when, does not add it again."""
    if since is not None:
        known = session.scalar(
            sa.select(EventRow.id).where(
                EventRow.study_instance_uid == study_instance_uid, EventRow.text == text, EventRow.at >= since
            )
        )
        if known is not None:
            return
    session.add(EventRow(study_instance_uid=study_instance_uid, at=now(), text=text))


def forget_readings(session: Session, name: str) -> None:
    """Strike out what an analysis decided and found before; it is carried out anew."""
    session.execute(sa.delete(DecisionRow).where(DecisionRow.analysis_id == name))
    session.execute(sa.delete(FindingRow).where(FindingRow.analysis_id == name))


def save_decisions(session: Session, name: str, decisions: Sequence[SeriesDecision]) -> None:
    """Write down which model reads which series, and why the others are not read."""
    session.execute(sa.delete(DecisionRow).where(DecisionRow.analysis_id == name))
    session.add_all(
        DecisionRow(
            analysis_id=name,
            series_instance_uid=decision.series_instance_uid,
            model=decision.model,
            reason=decision.reason,
        )
        for decision in decisions
    )


def save_reading(
    session: Session,
    name: str,
    reading: Reading,
    stack: ImageStack,
    stack_number: int,
    objects: Iterable[tuple[ResultObject, str, str]],
) -> None:
    """Write down what a model found on a stack, and the objects made of it.

    Each object comes with its path in the results folder and its variant.
    """
    model, at = reading.model, now()
    session.execute(
        sa.delete(FindingRow).where(
            FindingRow.analysis_id == name,
            FindingRow.series_instance_uid == reading.series_instance_uid,
            FindingRow.model == model.name,
            FindingRow.stack_number == stack_number,
        )
    )
    session.flush()
    for finding in reading.findings:
        key = stack.planes[finding.key_index]
        session.add(
            FindingRow(
                analysis_id=name,
                series_instance_uid=reading.series_instance_uid,
                model=model.name,
                model_version=model.version,
                weights_digest=model.weights_digest,
                stack_number=stack_number,
                number=finding.number,
                name=finding.name,
                label=finding.label,
                probability=finding.probability,
                operating_point=finding.operating_point_name,
                threshold=finding.operating_point.threshold,
                evaluation=finding.evaluation,
                key_sop_instance_uid=key.sop_instance_uid,
                key_frame_number=key.frame_number,
                image_probabilities=[round(p, 6) for p in finding.image_probabilities],
                class_probabilities=dict(reading.class_probabilities),
                device=reading.device,
                seconds=reading.seconds,
                read_at=at,
            )
        )
    save_objects(session, name, reading.series_instance_uid, model.name, objects)


def save_objects(
    session: Session,
    name: str,
    series_instance_uid: str,
    model: str,
    objects: Iterable[tuple[ResultObject, str, str]],
) -> None:
    """Write down result objects, each with its path in the results folder and its variant; safe to repeat."""
    for made, path, variant in objects:
        known = session.scalar(sa.select(ResultRow.id).where(ResultRow.sop_instance_uid == made.sop_instance_uid))
        if known is None:
            session.add(
                ResultRow(
                    sop_instance_uid=made.sop_instance_uid,
                    sop_class_uid=made.sop_class_uid,
                    analysis_id=name,
                    series_instance_uid=series_instance_uid,
                    model=model,
                    kind=made.kind,
                    variant=variant,
                    path=path,
                )
            )
