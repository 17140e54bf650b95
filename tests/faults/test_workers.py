"""Several workers on one PostgreSQL database and one folder: they share the work, and take over a dead one's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.workers import Destination, Workers
from dicom_node.database import WorkerRow
from dicom_node.liveness import BEAT_SECONDS, SILENT_SECONDS

pytestmark = pytest.mark.embedded  # has a database of its own

Start = Callable[[int], tuple[Workers, Destination]]
OBJECTS = 2  # of a study


@pytest.fixture
def start(tmp_path: Path, postgresql_url: str) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(count: int) -> tuple[Workers, Destination]:
            destination = stack.enter_context(Destination())
            workers = stack.enter_context(Workers(tmp_path, postgresql_url, destination, 0.3, count))
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
def test_the_studies_of_a_worker_that_is_killed_for_good_are_delivered_within_a_minute(start: Start) -> None:
    workers, destination = start(2)
    workers.submit(12)
    assert destination.await_objects(2 * OBJECTS, 60)

    workers.kill("worker-2")  # which has one of the ten studies in hand

    assert destination.await_objects(12 * OBJECTS, SILENT_SECONDS + 2 * BEAT_SECONDS + 15)
    with workers.database.reading() as session:
        assert session.get_one(WorkerRow, "worker-2").taken_over_at is not None
        assert session.get_one(WorkerRow, "worker-1").taken_over_at is None
    assert sum(destination.received.values()) - len(destination.received) <= OBJECTS  # cut off between send and record
