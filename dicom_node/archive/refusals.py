"""What the receiver refused, written down for the status page: counted, and at most once a minute a peer and reason."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from dicom_node.database import Database, now
from dicom_node.domain import Association
from dicom_node.receive.refusal import Reason
from dicom_node.tables import RefusalRow

log = logging.getLogger(__name__)

_MINUTE = 60.0
_SECOND = 1.0
_MOST_PEERS = 256


@dataclass(slots=True)
class _Counted:
    """The refusals of one peer for one reason in one minute; ``unwritten`` of them are not in the database yet."""

    association: Association
    reason: Reason
    text: str
    sop_instance_uid: str
    first_at: datetime
    began: float
    written: float = -math.inf
    row: int | None = None
    unwritten: int = 1


class RefusalTable:
    """Owns the rows of refusals.

    The first refusal of a peer for a reason is logged and written at once. Those that follow within a minute are
    counted, and the count is written at most once a second and by ``flush``: a peer that calls in vain, however often,
    costs neither a disk full of log nor the database's time. What cannot be written is kept for ``flush``.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._lock = threading.Lock()
        self._writing = threading.Lock()
        self._counted: dict[tuple[str, str, Reason], _Counted] = {}

    def record(self, association: Association, reason: Reason, text: str, sop_instance_uid: str = "") -> None:
        """Write down one refusal. The sender waits for its answer, so nobody waits here for a database that is stuck.

        What was refused because the database does not work is left to ``flush``, and so is what comes while another
        thread writes.
        """
        at = self._clock()
        may_write = reason is not Reason.INDEX_FAILED
        with self._lock:
            known = len(self._counted) < _MOST_PEERS
            # Calling AE titles are the caller's to choose: one who makes them up must not fill the memory.
            key = (association.address, association.calling_ae_title if known else "", reason)
            before = self._counted.get(key)
        if before is not None and at - before.began >= _MINUTE and may_write:
            self._try_to_write(before, at)
        with self._lock:
            counted = self._counted.get(key)
            if counted is not None and (at - counted.began < _MINUTE or counted.unwritten):
                counted.unwritten += 1
            else:
                counted = _Counted(association, reason, text, sop_instance_uid, now(), began=at)
                self._counted[key] = counted
                sender = f"{association.calling_ae_title or 'unknown'} at {association.address}"
                log.warning("refused %s from %s: %s", sop_instance_uid or "an association", sender, text)
        if at - counted.written >= _SECOND and may_write:
            self._try_to_write(counted, at)

    def flush(self) -> None:
        """Write what is not written yet, and forget what is older than a minute."""
        at = self._clock()
        with self._lock:
            held = list(self._counted.items())
        with self._writing:
            for _, counted in held:
                if not self._write(counted, at):
                    return
        with self._lock:
            for key, counted in held:
                if at - counted.began >= _MINUTE and not counted.unwritten and self._counted.get(key) is counted:
                    del self._counted[key]

    def _try_to_write(self, counted: _Counted, at: float) -> None:
        if self._writing.acquire(blocking=False):
            try:
                self._write(counted, at)
            finally:
                self._writing.release()

    def _write(self, counted: _Counted, at: float) -> bool:
        """Write a count into its row; false where the database does not take it."""
        with self._lock:
            count, counted.unwritten = counted.unwritten, 0
        if not count:
            return True
        try:
            with self._database.session.begin() as session:
                if counted.row is None:
                    row = _row(counted, count)
                    session.add(row)
                else:
                    row = None
                    update = sa.update(RefusalRow).where(RefusalRow.id == counted.row)
                    session.execute(update.values(count=RefusalRow.count + count, at=now()))
        except SQLAlchemyError as error:
            with self._lock:
                counted.unwritten += count
            log.error("a refusal could not be written down (%s); trying again", type(error).__name__)
            return False
        counted.written = at
        if row is not None:
            counted.row = row.id
        return True


def _row(counted: _Counted, count: int) -> RefusalRow:
    return RefusalRow(
        at=counted.first_at if count == 1 else now(),
        calling_ae_title=counted.association.calling_ae_title,
        address=counted.association.address,
        sop_instance_uid=counted.sop_instance_uid,
        status=counted.reason.status,
        code=counted.reason.value,
        reason=counted.text,
        count=count,
    )
