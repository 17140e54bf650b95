"""What peers asked the node to commit to storage, and what they were answered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.tables import CommitmentRequestRow


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """One request; ``closed_at`` is None until the peer has its answer, ``outcome`` says what that was."""

    id: int
    calling_ae_title: str
    transaction_uid: str
    instances: int
    received_at: datetime
    closed_at: datetime | None
    outcome: str


@dataclass(frozen=True, slots=True)
class CommitmentRequestPage:
    """Requests, newest first, and the ``before`` of the page that follows, None at the end."""

    requests: tuple[CommitmentRequest, ...]
    next: int | None


def list_commitment_requests(session: Session, *, before: int | None = None, limit: int = 50) -> CommitmentRequestPage:
    """Requests for storage commitment, newest first; ``before`` is the ``next`` of the previous page."""
    query = sa.select(CommitmentRequestRow).order_by(CommitmentRequestRow.id.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(CommitmentRequestRow.id < before)
    rows = session.scalars(query).all()
    requests = tuple(
        CommitmentRequest(
            id=row.id,
            calling_ae_title=row.calling_ae_title,
            transaction_uid=row.transaction_uid,
            instances=len(row.instances),
            received_at=row.received_at,
            closed_at=row.closed_at,
            outcome=row.outcome,
        )
        for row in rows[:limit]
    )
    return CommitmentRequestPage(requests, requests[-1].id if len(rows) > limit else None)
