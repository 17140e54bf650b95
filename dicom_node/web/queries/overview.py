"""The node's work in figures, and what waits for its destinations."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.domain import DeliveryState, StudyState
from dicom_node.tables import AnalysisRow, DeliveryRow, FindingRow, InstanceRow, StudyRow

IN_PROGRESS = (StudyState.RECEIVING, StudyState.QUEUED, StudyState.ANALYSING, StudyState.DELIVERING)

_TURNAROUND_SAMPLE = 500
_RATE_PERIOD = timedelta(minutes=5)
_RATE_SAMPLE = 2000


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
class Turnaround:
    """Seconds from the last image of a study to its delivery: the median, and what 95 % stay below."""

    median: float
    percentile_95: float


@dataclass(frozen=True, slots=True)
class Overview:
    """The node's work in figures. ``ended`` counts studies that arrived in the period asked for.

    ``turnaround`` is from last image to delivered, None where nothing was delivered. ``queued_since`` is the oldest
    moment at which a study still queued was queued, ``images_per_minute`` of the last minutes, ``device`` what the
    latest reading ran on, None before there was one.
    """

    in_progress: dict[StudyState, int]
    ended: dict[StudyState, int]
    turnaround: Turnaround | None
    queued_since: datetime | None
    last_received_at: datetime | None
    images_per_minute: float
    device: str | None
    backlogs: tuple[Backlog, ...]


def get_overview(session: Session, *, since: datetime, parked_since: datetime, at: datetime) -> Overview:
    """The node's work in figures ``at`` a moment, of what ended at or after ``since``."""
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
        turnaround=_turnaround(session, since),
        queued_since=next((oldest for state, _, oldest in in_progress if state is StudyState.QUEUED), None),
        last_received_at=session.scalar(
            sa.select(StudyRow.last_received_at).order_by(StudyRow.last_received_at.desc()).limit(1)
        ),
        images_per_minute=_images_per_minute(session, at),
        device=session.scalar(sa.select(FindingRow.device).order_by(FindingRow.id.desc()).limit(1)),
        backlogs=get_backlogs(session, parked_since=parked_since),
    )


def _images_per_minute(session: Session, at: datetime) -> float:
    """Of the last ``_RATE_PERIOD``; from the newest ``_RATE_SAMPLE`` images, where these came in less."""
    newest = sa.select(InstanceRow.received_at).order_by(InstanceRow.id.desc()).limit(_RATE_SAMPLE)
    received = [moment for moment in session.scalars(newest) if at - moment <= _RATE_PERIOD]
    period = at - received[-1] if len(received) == _RATE_SAMPLE else _RATE_PERIOD
    return len(received) / max(period.total_seconds(), 1.0) * 60


def _turnaround(session: Session, since: datetime) -> Turnaround | None:
    # In two steps: joined, PostgreSQL may read every analysis to find those of a day.
    delivered = (
        sa.select(StudyRow.latest_analysis_id)
        .where(StudyRow.last_received_at >= since, StudyRow.state == StudyState.DELIVERED)
        .order_by(StudyRow.last_received_at.desc())
        .limit(_TURNAROUND_SAMPLE)
    )
    query = sa.select(AnalysisRow.last_image_at, AnalysisRow.finished_at).where(
        AnalysisRow.analysis_id.in_(session.scalars(delivered).all()), AnalysisRow.asked_again_at.is_(None)
    )
    seconds = sorted((finished - last).total_seconds() for last, finished in session.execute(query) if finished)
    if not seconds:
        return None
    return Turnaround(median(seconds), seconds[max(0, math.ceil(0.95 * len(seconds)) - 1)])


def get_backlogs(session: Session, *, parked_since: datetime) -> tuple[Backlog, ...]:
    """What waits for a destination: everything that is retried, and what was parked at or after ``parked_since``.

    What somebody cancelled waits for nobody.
    """
    group = (DeliveryRow.destination, DeliveryRow.state)
    ranked = (
        sa.select(
            DeliveryRow.id,
            sa.func.count().over(partition_by=group).label("results"),
            sa.func.row_number()
            .over(partition_by=group, order_by=(DeliveryRow.last_attempt_at.desc(), DeliveryRow.id.desc()))
            .label("rank"),
        )
        .join(AnalysisRow, AnalysisRow.analysis_id == DeliveryRow.analysis_id)
        .where(
            AnalysisRow.state != StudyState.CANCELLED,
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


def last_deliveries(session: Session, destinations: Sequence[str]) -> dict[str, datetime | None]:
    """When each destination last accepted something."""
    if not destinations:
        return {}
    newest = [
        sa.select(sa.func.max(DeliveryRow.delivered_at)).where(DeliveryRow.destination == name).scalar_subquery()
        for name in destinations
    ]
    return dict(zip(destinations, session.execute(sa.select(*newest)).one(), strict=True))
