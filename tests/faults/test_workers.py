"""Several workers on one PostgreSQL database and one folder: they share the work, and take over a dead one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import sqlalchemy as sa

from benchmarks.workers import Destination, Workers
from dicom_node.tables import WorkerRow

pytestmark = pytest.mark.embedded  # has a database of its own

Start = Callable[[int], tuple[Workers, Destination]]
OBJECTS = 2  # of a study
SILENT = 6.0  # in place of half a minute, which the benchmark "workers --kill" waits for


@pytest.fixture
def start(tmp_path: Path, postgresql_url: str) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(count: int) -> tuple[Workers, Destination]:
            destination = stack.enter_context(Destination())
            workers = stack.enter_context(
                Workers(tmp_path, postgresql_url, destination, 0.3, count, silent_seconds=SILENT)
            )
            workers.await_ready()
            return workers, destination

        yield begin


def test_workers_share_the_studies_and_deliver_each_result_once(start: Start) -> None:
    workers, destination = start(3)

    workers.submit(18)

    assert destination.await_objects(18 * OBJECTS, 60)
    assert set(destination.received.values()) == {1}
    shares = workers.analyses_by_worker()
    assert sum(shares.values()) == 18
    assert min(shares[worker] for worker in workers.ids) >= 2


@pytest.mark.timeout(180)
def test_workers_of_two_releases_share_the_studies_and_the_newer_goes_on_alone(
    tmp_path: Path, postgresql_url: str
) -> None:
    with (
        Destination() as destination,
        Workers(tmp_path, postgresql_url, destination, 0.3, 1, first=2, version="99.0", silent_seconds=SILENT) as newer,
    ):
        with Workers(tmp_path, postgresql_url, destination, 0.3, 1, version="0.0", silent_seconds=SILENT) as older:
            older.await_ready()
            newer.await_ready()
            newer.submit(10)
            assert destination.await_objects(10 * OBJECTS, 60)
            with newer.database.reading() as session:
                known = {row.worker_id: row.version for row in session.scalars(sa.select(WorkerRow))}
            assert known == {"worker-1": "0.0", "worker-2": "99.0"}
            assert min(newer.analyses_by_worker().values()) >= 2
            newer.submit(6)

        assert destination.await_objects(16 * OBJECTS, SILENT + 30)


@pytest.mark.timeout(180)
def test_the_studies_of_a_worker_that_is_killed_for_good_are_delivered_by_the_others(start: Start) -> None:
    workers, destination = start(2)
    workers.submit(12)
    assert destination.await_objects(2 * OBJECTS, 60)

    workers.kill("worker-2")  # which has one of the ten studies in hand

    assert destination.await_objects(12 * OBJECTS, SILENT + 30)
    with workers.database.reading() as session:
        assert session.get_one(WorkerRow, "worker-2").taken_over_at is not None
        assert session.get_one(WorkerRow, "worker-1").taken_over_at is None
    assert sum(destination.received.values()) - len(destination.received) <= OBJECTS  # cut off between send and record
