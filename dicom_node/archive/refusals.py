"""What the receiver refused, written down for the status page: counted, and at most once a minute a peer and reason."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.database import Database, RefusalRow, now
from dicom_node.domain import Association
from dicom_node.receive.refusal import Reason

log = logging.getLogger(__name__)

_MINUTE = 60.0
_SECOND = 1.0
_MOST_PEERS = 256


@dataclass(slots=True)
class _Counted:
    """The refusals of one peer for one reason in one minute; ``unwritten`` of them are not in the row yet."""

    row: int
    began: float
    written: float
    unwritten: int = 0


class RefusalTable:
    """Owns the rows of refusals.

    The first refusal of a peer for a reason is logged and written at once. Those that follow within a minute are
    counted, and the count is written at most once a second and by ``flush``: a peer that calls in vain, however often,
    costs neither a disk full of log nor the database's time.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._counted: dict[tuple[str, str, Reason], _Counted] = {}

    def record(self, association: Association, reason: Reason, text: str, sop_instance_uid: str = "") -> None:
        """Write down one refusal. A database that cannot be written is logged: the sender is answered all the same."""
        at = self._clock()
        with self._lock:
            known = len(self._counted) < _MOST_PEERS
            # Calling AE titles are the caller's to choose: one who makes them up must not fill the memory.
            key = (association.address, association.calling_ae_title if known else "", reason)
            counted = self._counted.get(key)
            if counted is not None and at - counted.began < _MINUTE:
                counted.unwritten += 1
                if at - counted.written >= _SECOND:
                    self._write_count(counted, at)
                return
            if counted is not None:
                self._write_count(counted, at)
            sender = f"{association.calling_ae_title or 'unknown'} at {association.address}"
            log.warning("refused %s from %s: %s", sop_instance_uid or "an association", sender, text)
            row = self._write(association, reason, text, sop_instance_uid)
            if row is not None:
                self._counted[key] = _Counted(row, began=at, written=at)

    def flush(self) -> None:
        """Write the counts that are not written yet, and forget what is older than a minute."""
        at = self._clock()
        with self._lock:
            for key, counted in list(self._counted.items()):
                self._write_count(counted, at)
                if at - counted.began >= _MINUTE:
                    del self._counted[key]

    def _write(self, association: Association, reason: Reason, text: str, sop_instance_uid: str) -> int | None:
        row = RefusalRow(
            at=now(),
            calling_ae_title=association.calling_ae_title,
            address=association.address,
            sop_instance_uid=sop_instance_uid,
            status=reason.status,
            code=reason.value,
            reason=text,
        )
        try:
            with self._database.session.begin() as session:
                session.add(row)
        except SQLAlchemyError:
            log.exception("a refusal could not be written down")
            return None
        return row.id

    def _write_count(self, counted: _Counted, at: float) -> None:
        if not counted.unwritten:
            return
        update = sa.update(RefusalRow).where(RefusalRow.id == counted.row)
        try:
            with self._database.session.begin() as session:
                session.execute(update.values(count=RefusalRow.count + counted.unwritten, at=now()))
        except SQLAlchemyError:
            log.exception("a count of refusals could not be written down")
            return
        counted.unwritten, counted.written = 0, at
