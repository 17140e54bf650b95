"""What the receiver refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.tables import RefusalRow


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
