"""The rows that say what was sent where, and how each attempt went."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.database import DeliveryRow, ResultRow
from dicom_node.domain import DeliveryAttempt, DeliveryState, ResultObject

UNFINISHED = (DeliveryState.PENDING, DeliveryState.RETRYING)


def open_deliveries(session: Session, analysis_id: str, wanted: Mapping[str, Sequence[str]]) -> list[str]:
    """Write down which objects (SOP Instance UIDs) go to which destination; safe to repeat.

    Returns the names of the destinations.
    """
    known = {
        (row.sop_instance_uid, row.destination)
        for row in session.scalars(sa.select(DeliveryRow).where(DeliveryRow.analysis_id == analysis_id))
    }
    session.add_all(
        DeliveryRow(sop_instance_uid=uid, analysis_id=analysis_id, destination=destination, state=DeliveryState.PENDING)
        for destination, uids in wanted.items()
        for uid in uids
        if (uid, destination) not in known
    )
    return list(wanted)


def unfinished(session: Session, analysis_id: str, destination: str, folder: Path) -> list[ResultObject]:
    """The objects of an analysis that a destination does not have yet, with paths below ``folder``."""
    rows = session.scalars(
        sa.select(ResultRow)
        .join(DeliveryRow)
        .where(
            DeliveryRow.analysis_id == analysis_id,
            DeliveryRow.destination == destination,
            DeliveryRow.state.in_(UNFINISHED),
        )
        .order_by(ResultRow.id)
    )
    return [ResultObject(row.sop_instance_uid, row.sop_class_uid, row.kind, folder / row.path) for row in rows]


def record(
    session: Session,
    destination: str,
    attempts: Mapping[str, DeliveryAttempt],
    at: datetime,
    next_attempt_at: datetime | None,
) -> None:
    """Write down how an attempt went, by SOP Instance UID; ``next_attempt_at`` holds for those to be retried."""
    rows = session.scalars(
        sa.select(DeliveryRow).where(
            DeliveryRow.destination == destination, DeliveryRow.sop_instance_uid.in_(list(attempts))
        )
    )
    for row in rows:
        attempt = attempts[row.sop_instance_uid]
        row.state = attempt.state
        row.attempts += 1
        row.status = attempt.status
        row.message = attempt.message
        row.last_attempt_at = at
        row.next_attempt_at = next_attempt_at if attempt.state is DeliveryState.RETRYING else None
        row.delivered_at = at if attempt.state is DeliveryState.DELIVERED else None
        row.transaction_uid = row.committed_at = None


def states(session: Session, analysis_id: str) -> list[tuple[str, DeliveryState, str]]:
    """Destination, state and last message of every delivery of an analysis."""
    rows = session.execute(
        sa.select(DeliveryRow.destination, DeliveryRow.state, DeliveryRow.message).where(
            DeliveryRow.analysis_id == analysis_id
        )
    )
    return [(destination, state, message) for destination, state, message in rows]
