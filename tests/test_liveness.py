"""Which worker is taken for dead, and who takes over its work."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from dicom_node import liveness
from dicom_node.database import Database
from dicom_node.domain import Gpu
from dicom_node.liveness import (
    BEAT_SECONDS,
    SILENT_SECONDS,
    Liveness,
    WorkerIdTaken,
    WorkerState,
    give_up_on,
    known_workers,
    silent,
)
from dicom_node.tables import WorkerRow

NOW = datetime(2025, 11, 20, 12, tzinfo=UTC)
LONG_AGO = NOW - timedelta(seconds=SILENT_SECONDS)


@pytest.mark.parametrize(
    ("worker", "dead"),
    [
        (WorkerState("beats", "a", "1", NOW - timedelta(seconds=SILENT_SECONDS - 1)), False),
        (WorkerState("silent", "a", "1", LONG_AGO), True),
        (WorkerState("stopped and not started again", "a", "1", LONG_AGO, stopped_at=LONG_AGO), True),
        (WorkerState("taken over before", "a", "1", LONG_AGO, taken_over_at=NOW), False),
    ],
)
def test_only_a_worker_that_is_silent_and_not_taken_over_yet_is_dead(worker: WorkerState, dead: bool) -> None:
    assert silent([worker], NOW) == ([worker.worker_id] if dead else [])


def test_a_dead_workers_studies_are_in_other_hands_within_a_minute() -> None:
    assert SILENT_SECONDS + 2 * BEAT_SECONDS < 60


def _worker(database: Database, name: str, taken: list[str]) -> Liveness:
    return Liveness(database, name, lambda worker: len(taken.append(worker) or taken), Path("/nonexistent"))


def _beat_at(database: Database, name: str, ago: float) -> None:
    with database.session.begin() as session:
        row = session.get_one(WorkerRow, name)
        row.beat_at -= timedelta(seconds=ago)


def test_the_work_of_a_dead_worker_is_taken_over_once_and_by_one(database: Database) -> None:
    taken: list[str] = []
    first, second, dead = (_worker(database, name, taken) for name in ("first", "second", "dead"))
    for worker in (first, second, dead):
        worker.claim()
    assert first.look() == []

    _beat_at(database, "dead", SILENT_SECONDS)

    assert first.look() + second.look() + first.look() == ["dead"]
    assert taken == ["dead"]


def test_a_worker_knows_how_many_are_alive(database: Database) -> None:
    workers = [_worker(database, name, []) for name in ("first", "second", "dead")]
    for worker in workers:
        worker.claim()
    _beat_at(database, "dead", SILENT_SECONDS)

    workers[0].look()

    assert workers[0].alive == 2


def test_a_worker_whose_work_was_taken_over_learns_of_it_and_begins_anew_in_another_life(database: Database) -> None:
    taken: list[str] = []
    frozen, other = _worker(database, "frozen", taken), _worker(database, "other", taken)
    frozen.claim()
    other.claim()
    assert frozen.beat()

    _beat_at(database, "frozen", SILENT_SECONDS)
    other.look()

    assert not frozen.beat()
    again = _worker(database, "frozen", taken)
    again.claim()
    assert again.beat()
    assert not frozen.beat()


def test_an_administrator_who_knows_better_need_not_wait(database: Database) -> None:
    taken: list[str] = []
    alive, dead = _worker(database, "alive", taken), _worker(database, "dead", taken)
    alive.claim()
    dead.claim()

    with database.session.begin() as session:
        assert give_up_on(session, "dead")
        assert not give_up_on(session, "nobody")

    assert alive.look() == ["dead"]


def test_an_id_is_not_taken_from_a_worker_that_is_alive_on_another_host(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(liveness.socket, "gethostname", lambda: "one")
    _worker(database, "worker-1", []).claim()
    monkeypatch.setattr(liveness.socket, "gethostname", lambda: "two")
    moved = _worker(database, "worker-1", [])

    with pytest.raises(WorkerIdTaken, match="worker-1 runs on one"):
        moved.claim()

    _beat_at(database, "worker-1", SILENT_SECONDS)
    moved.claim()
    assert moved.beat()


def test_a_worker_shows_that_it_lives_by_a_file_even_while_its_database_is_away(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign = tmp_path / "worker-1.lock"
    sign.touch()
    os.utime(sign, (0, 0))
    monkeypatch.setattr(liveness, "BEAT_SECONDS", 0.01)
    worker = Liveness(database, "worker-1", lambda _: 0, sign)

    def away() -> bool:
        raise sa.exc.OperationalError("UPDATE workers", None, Exception("connection refused"))

    monkeypatch.setattr(worker, "beat", away)
    worker.start()
    for _ in range(500):
        if sign.stat().st_mtime > time.time() - 60:
            break
        time.sleep(0.01)
    worker.stop()

    assert sign.stat().st_mtime > time.time() - 60


def test_a_beat_tells_of_the_gpus_and_of_what_fell_back(database: Database, tmp_path: Path) -> None:
    gpus = [Gpu("NVIDIA H100", 1200, 81_559), Gpu("NVIDIA L4", None, None)]
    worker = Liveness(
        database, "worker", lambda _: 0, tmp_path / "sign", lambda: "lung_ct runs on the CPU", lambda: gpus
    )
    worker.claim()
    assert worker.beat()

    with database.reading() as session:
        [known], _ = known_workers(session)

    assert known.gpus == tuple(gpus)
    assert known.trouble == "lung_ct runs on the CPU"
