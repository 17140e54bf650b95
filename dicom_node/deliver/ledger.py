"""The rows that say what was sent where, and how each attempt went."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.config import Peer
from dicom_node.domain import DeliveryAttempt, DeliveryState, ResultObject
from dicom_node.results.options import options_for
from dicom_node.tables import DeliveryRow, ResultRow

UNFINISHED = (DeliveryState.PENDING, DeliveryState.RETRYING)


def wanted_by(peer: Peer, results: Iterable[ResultRow]) -> list[str]:
    """The objects (SOP Instance UIDs) of an analysis that a destination takes, in the way it wants them labelled."""
    options = options_for(peer, peer.results)
    return [
        row.sop_instance_uid
        for row in results
        if row.kind in options.kinds and row.variant == options.variant(row.kind)
    ]


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


def send_again(deliveries: Iterable[DeliveryRow], message: str) -> None:
    """Let deliveries be tried as soon as a worker looks: see ``lost_deliveries``."""
    for row in deliveries:
        row.state, row.message = DeliveryState.RETRYING, message
        row.delivered_at = row.next_attempt_at = row.transaction_uid = row.committed_at = None


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


def undelivered(session: Session, analysis_id: str) -> list[DeliveryRow]:
    """What a destination does not have yet of an analysis, whether or not it is still tried."""
    query = sa.select(DeliveryRow).where(
        DeliveryRow.analysis_id == analysis_id, DeliveryRow.state != DeliveryState.DELIVERED
    )
    return list(session.scalars(query))


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
        if row.state is DeliveryState.PARKED and attempt.state is DeliveryState.RETRYING:
            continue  # cancelled while it was tried
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
