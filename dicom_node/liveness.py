"""Which workers are alive, and whose unfinished work another worker takes over.

Each worker writes down every few seconds that it is there. One that has not for ``SILENT_SECONDS`` is taken for dead:
another worker marks it so and puts its unfinished workflows back into their queues, both under the lock of its row. If
it was only cut off or asleep, it finds the mark at its next beat, and ends before it does more of what is no longer its
work. A worker that starts takes its own row first, so that nobody takes over what it begins to take up itself.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node import __version__
from dicom_node.database import Database, now
from dicom_node.domain import Gpu
from dicom_node.periodic import Periodic
from dicom_node.tables import WorkerRow

log = logging.getLogger(__name__)

BEAT_SECONDS = 5.0
SILENT_SECONDS = 30.0
"""A database that fails over, or a host that swaps, may be away for some seconds without being dead."""

LOST_STATUS = 75
"""Exit status (EX_TEMPFAIL) of a worker whose work was taken over: it is started again and begins anew."""


class WorkerIdTaken(Exception):
    """Another worker has this id; the text names its host."""


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker as its row tells; ``stopped_at`` is when it ended in order, ``taken_over_at`` when it was given up."""

    worker_id: str
    host: str
    version: str
    beat_at: datetime
    stopped_at: datetime | None = None
    taken_over_at: datetime | None = None
    trouble: str = ""
    gpus: tuple[Gpu, ...] = ()

    def is_alive(self, at: datetime) -> bool:
        """Whether it has told of itself lately, and not ended since."""
        ended = self.stopped_at is not None or self.taken_over_at is not None
        return not ended and at - self.beat_at < timedelta(seconds=SILENT_SECONDS)


def silent(workers: Iterable[WorkerState], at: datetime) -> list[str]:
    """The ids of those whose work is to be taken over at ``at``; also one that ended in order may have left some."""
    horizon = at - timedelta(seconds=SILENT_SECONDS)
    return [worker.worker_id for worker in workers if worker.taken_over_at is None and worker.beat_at <= horizon]


def known_workers(session: Session) -> tuple[list[WorkerState], datetime]:
    """All workers by id, and the database's time, which the beats are by: the clocks of hosts may differ."""
    rows = session.scalars(sa.select(WorkerRow).order_by(WorkerRow.worker_id)).all()
    return [_state(row) for row in rows], database_time(session)


def database_time(session: Session) -> datetime:
    """The time by the clock that all processes share; on SQLite they share the machine's."""
    if session.get_bind().dialect.name == "sqlite":
        return now()
    at: datetime = session.execute(sa.select(sa.func.clock_timestamp())).scalar_one()
    return at


def give_up_on(session: Session, worker_id: str) -> bool:
    """Let the next check take over the work of a worker that will not return; false if no worker of that id is known.

    One that is alive after all tells of itself again and keeps its work.
    """
    row = session.get(WorkerRow, worker_id, with_for_update=True)
    if row is None:
        return False
    row.beat_at, row.taken_over_at = datetime.fromtimestamp(0, UTC), None
    return True


class Liveness:
    """Owns this worker's row and the thread that keeps it fresh and looks at the others'.

    ``take_over`` puts the unfinished workflows of the worker of that id back into their queues and returns how many
    there were. ``sign`` is a file that is touched at each beat, whether or not the database answers: to look at it
    costs a container's check of the process nothing, and ends no worker that waits for its database. ``trouble`` says
    what keeps the models from running as configured, ``gpus`` what they may run on. ``lost`` is called when this
    worker's own work has been taken over; it must end the process.
    """

    def __init__(
        self,
        database: Database,
        worker_id: str,
        take_over: Callable[[str], int],
        sign: Path,
        trouble: Callable[[], str] = lambda: "",
        gpus: Callable[[], Sequence[Gpu]] = lambda: (),
        lost: Callable[[], None] = lambda: os._exit(LOST_STATUS),
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._take_over = take_over
        self._trouble = trouble
        self._gpus = gpus
        self._lost = lost
        self._life = uuid.uuid4().hex
        self._sign = sign
        self.alive = 1
        """Workers on the database that were alive at the last look, this one among them."""
        self._thread = Periodic("liveness", BEAT_SECONDS, self._beat_and_look)

    def claim(self) -> None:
        """Take the id for this process.

        Raises:
            WorkerIdTaken: a worker on another host has it, and is alive.
        """
        with self._database.session.begin() as session:
            row = session.get(WorkerRow, self._worker_id, with_for_update=True)
            at = database_time(session)
            host = socket.gethostname()
            if row is None:
                row = WorkerRow(worker_id=self._worker_id)
                session.add(row)
            elif row.host != host and _state(row).is_alive(at):
                raise WorkerIdTaken(f"{self._worker_id} runs on {row.host}: each worker needs a worker.id of its own")
            row.host, row.version, row.life = host, __version__, self._life
            row.started_at = row.beat_at = at
            row.stopped_at = row.taken_over_at = None

    def start(self) -> None:
        """Begin to beat, and to look at the others."""
        self._thread.start()

    def stop(self) -> None:
        """End in order; what is left undone is this worker's for ``SILENT_SECONDS``, as during a restart."""
        self._thread.stop()
        own = sa.update(WorkerRow).where(WorkerRow.worker_id == self._worker_id, WorkerRow.life == self._life)
        try:
            with self._database.session.begin() as session:
                at = database_time(session)
                session.execute(own.values(stopped_at=at, beat_at=at))
        except sa.exc.SQLAlchemyError as error:  # the others will find it silent
            log.warning("the database does not learn that %s stopped (%s)", self._worker_id, type(error).__name__)

    def _beat_and_look(self) -> None:
        at = time.time()  # by this host's clock, which the check has too, and not the file server's
        with suppress(OSError):
            os.utime(self._sign, (at, at))
        if not self.beat():
            log.error(
                "the work of %s was taken over, or another worker has its id: beginning anew. Each worker needs a "
                "worker.id of its own",
                self._worker_id,
            )
            self._lost()
        self.look()

    def beat(self) -> bool:
        """Say that this worker is there; false if it is no longer taken for alive."""
        trouble, gpus = self._trouble(), [asdict(gpu) for gpu in self._gpus()]
        with self._database.session.begin() as session:
            own = sa.update(WorkerRow).where(
                WorkerRow.worker_id == self._worker_id,
                WorkerRow.life == self._life,
                WorkerRow.taken_over_at.is_(None),
            )
            beaten = session.execute(
                own.values(beat_at=database_time(session), trouble=trouble, gpus=gpus).returning(WorkerRow.worker_id)
            )
            return beaten.first() is not None

    def look(self) -> list[str]:
        """Take over the work of the workers that are silent; their ids."""
        with self._database.reading() as session:
            workers, at = known_workers(session)
        self.alive = max(1, sum(worker.is_alive(at) for worker in workers))
        others = [worker for worker in workers if worker.worker_id != self._worker_id]
        return [dead for dead in silent(others, at) if self._bury(dead)]

    def _bury(self, worker_id: str) -> bool:
        with self._database.session.begin() as session:
            row = session.get_one(WorkerRow, worker_id, with_for_update=True)
            if not silent([_state(row)], database_time(session)):
                return False  # it has come back, or another worker was faster
            # Within the transaction: a worker that starts meanwhile under this id waits for its row.
            count = self._take_over(worker_id)
            row.taken_over_at = database_time(session)
        log.warning("%s is silent: %d unfinished workflows taken over", worker_id, count)
        return True


def _state(row: WorkerRow) -> WorkerState:
    times = (row.beat_at, row.stopped_at, row.taken_over_at)
    gpus = tuple(Gpu(**gpu) for gpu in row.gpus)
    return WorkerState(row.worker_id, row.host, row.version, *times, row.trouble, gpus)
