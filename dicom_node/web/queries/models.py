"""Models in operation: how much they read and find, their versions, and what was decided of them."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.domain import Evaluation, VersionState
from dicom_node.tables import (
    FindingRow,
    LabelledDataRow,
    ModelChangeRow,
    ModelInputRow,
    ModelVersionRow,
    ShadowFindingRow,
)

ACTIVITY_DAYS = 28
_MOST_CHANGES = 50
_MOST_TIMED = 1000


@dataclass(frozen=True, slots=True)
class DayOfFinding:
    """How often a finding was asked for on one day (UTC), and how often it was said to be present."""

    day: str
    finding: str
    present: int
    asked: int


@dataclass(frozen=True, slots=True)
class Activity:
    """What a model did lately: findings by day, and how long the latest readings took, in seconds."""

    days: tuple[DayOfFinding, ...]
    read_last_day: int
    median_seconds: float | None
    slow_seconds: float | None


@dataclass(frozen=True, slots=True)
class Change:
    """One line of a model's history."""

    at: datetime
    by: str
    text: str


@dataclass(frozen=True, slots=True)
class Version:
    """A version that was asked to be trained on this node's data, and what became of it."""

    id: int
    version: str
    base_version: str
    weights_digest: str | None
    state: VersionState
    reason: str
    comparison: Mapping[str, Any] | None
    requested_by: str
    requested_at: datetime
    cancel_requested_at: datetime | None
    trained_at: datetime | None
    data: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ShadowComparison:
    """How a version in shadow compares with the one in use: where both said the same, and where they differ."""

    finding: str
    cases: int
    same: int
    only_shadow_present: int
    only_in_use_present: int
    mean_difference: float


@dataclass(frozen=True, slots=True)
class LabelledData:
    """A set of labelled images that was uploaded."""

    id: int
    name: str
    images: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    uploaded_by: str
    uploaded_at: datetime

    @property
    def count(self) -> int:
        """All images of it."""
        return sum(sum(classes.values()) for classes in self.images.values())


def model_activity(session: Session, model: str, at: datetime) -> Activity:
    """What a model did in the last ``ACTIVITY_DAYS`` days."""
    day = sa.func.date(FindingRow.read_at)
    rows = session.execute(
        sa.select(day, FindingRow.name, FindingRow.evaluation, sa.func.count())
        .where(FindingRow.model == model, FindingRow.read_at >= at - timedelta(days=ACTIVITY_DAYS))
        .group_by(day, FindingRow.name, FindingRow.evaluation)
    )
    present: dict[tuple[str, str], int] = defaultdict(int)
    asked: dict[tuple[str, str], int] = defaultdict(int)
    for on, name, evaluation, count in rows:
        asked[str(on), name] += count
        present[str(on), name] += count if evaluation is Evaluation.PRESENT else 0
    times = sorted(
        session.scalars(
            sa.select(ModelInputRow.seconds)
            .where(ModelInputRow.model == model)
            .order_by(ModelInputRow.read_at.desc())
            .limit(_MOST_TIMED)
        )
    )
    return Activity(
        tuple(DayOfFinding(on, name, present[on, name], asked[on, name]) for on, name in sorted(asked)),
        read_last_day(session, model, at),
        statistics.median(times) if times else None,
        times[min(len(times) - 1, round(0.95 * len(times)))] if times else None,
    )


def read_last_day(session: Session, model: str, at: datetime) -> int:
    """How many series, or parts of one, a model read in the last 24 hours."""
    query = sa.select(sa.func.count()).where(
        ModelInputRow.model == model, ModelInputRow.read_at >= at - timedelta(days=1)
    )
    return session.scalar(query) or 0


def model_changes(session: Session, model: str) -> list[Change]:
    """The latest of what was decided of a model, newest first."""
    rows = session.scalars(
        sa.select(ModelChangeRow)
        .where(ModelChangeRow.model == model)
        .order_by(ModelChangeRow.id.desc())
        .limit(_MOST_CHANGES)
    )
    return [Change(row.at, row.by, row.text) for row in rows]


def model_versions(session: Session, model: str) -> list[Version]:
    """The versions of a model that were trained here, or are to be; newest first."""
    rows = session.scalars(
        sa.select(ModelVersionRow).where(ModelVersionRow.model == model).order_by(ModelVersionRow.id.desc())
    )
    return [
        Version(
            row.id,
            row.version,
            row.base_version,
            row.weights_digest,
            row.state,
            row.reason,
            row.comparison,
            row.requested_by,
            row.requested_at,
            row.cancel_requested_at,
            row.trained_at,
            tuple(row.data),
        )
        for row in rows
    ]


def shadow_comparison(session: Session, version_id: int) -> list[ShadowComparison]:
    """What a version in shadow said beside the one in use, by finding."""
    shadow, in_use = ShadowFindingRow.evaluation, ShadowFindingRow.in_use

    def count(condition: sa.ColumnElement[bool]) -> sa.ColumnElement[int]:
        return sa.func.sum(sa.case((condition, 1), else_=0))

    present = Evaluation.PRESENT
    rows = session.execute(
        sa.select(
            ShadowFindingRow.finding,
            sa.func.count(),
            count(shadow == in_use),
            count((shadow == present) & (in_use != present)),
            count((shadow != present) & (in_use == present)),
            sa.func.avg(sa.func.abs(ShadowFindingRow.probability - ShadowFindingRow.in_use_probability)),
        )
        .where(ShadowFindingRow.version_id == version_id)
        .group_by(ShadowFindingRow.finding)
    )
    return [ShadowComparison(*row) for row in rows]


def labelled_data(session: Session, model: str) -> list[LabelledData]:
    """The labelled images that were uploaded for a model; newest first."""
    rows = session.scalars(
        sa.select(LabelledDataRow).where(LabelledDataRow.model == model).order_by(LabelledDataRow.id.desc())
    )
    return [
        LabelledData(row.id, row.name, row.images, tuple(row.notes), row.uploaded_by, row.uploaded_at) for row in rows
    ]
