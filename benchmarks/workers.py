"""Studies a minute by one worker, two, four and eight that share a database, with a model that sleeps."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import sqlalchemy as sa
import yaml
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pynetdicom import AE, AllStoragePresentationContexts, evt

from benchmarks import postgresql
from benchmarks.report import Report
from benchmarks.sleeping_worker import SILENT_VARIABLE, VERSION_VARIABLE
from benchmarks.studies import renamed
from dicom_node import __version__
from dicom_node.archive.archive import Archive
from dicom_node.archive.index import InstanceIndex
from dicom_node.archive.store import InstanceStore
from dicom_node.config import Config, load_config
from dicom_node.database import Database
from dicom_node.demo.phantoms import chest_ct
from dicom_node.demo.processes import Process, free_port
from dicom_node.domain import Association
from dicom_node.liveness import SILENT_SECONDS
from dicom_node.tables import WorkerRow

_START_SECONDS = 120.0
_OBJECTS = 2
"""Results of a study: a report and a capture."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The load, and how many workers share it."""
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4, 8], help="numbers of workers")
    parser.add_argument("--studies", type=int, default=6, help="studies for each worker")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the model sleeps")
    parser.add_argument("--kill", action="store_true", help="kill the last worker for good in the middle")


def run(arguments: argparse.Namespace) -> Report:
    """One round for each number of workers, each on an empty database."""
    report = Report(f"workers on PostgreSQL, a model that sleeps {arguments.seconds:g} s, one image a study")
    with postgresql.server() as server:
        for count in arguments.workers:
            with (
                postgresql.empty_database(server) as url,
                tempfile.TemporaryDirectory() as folder,
                Destination() as destination,
                Workers(Path(folder), url, destination, arguments.seconds, count) as workers,
            ):
                workers.await_ready()
                row, failures = _round(workers, destination, arguments.studies * count, kill=arguments.kill)
                report.rows.append(row)
                report.failures += failures
    first = report.rows[0]
    for row in report.rows:
        rate = float(row["studies a minute"] or 0) / float(first["studies a minute"] or 1)
        row["times the first"] = rate
    return report


class Destination:
    """A storage SCP that accepts everything and keeps a log of what came: SOP Instance UIDs, and when the last did."""

    def __init__(self) -> None:
        self.port = free_port()
        self.received: Counter[str] = Counter()
        self._changed = threading.Condition()
        self._entity = AE("ARCHIVE")
        self._entity.maximum_associations = 100
        self._entity.supported_contexts = AllStoragePresentationContexts

    def __enter__(self) -> Self:
        self._entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._entity.shutdown()

    def await_objects(self, count: int, seconds: float) -> bool:
        """Wait until so many different objects have come; false where they have not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: len(self.received) >= count, seconds)

    def _store(self, event: evt.Event) -> int:
        with self._changed:
            request: Any = event.request
            self.received[str(request.AffectedSOPInstanceUID)] += 1
            self._changed.notify_all()
        return 0x0000


class Workers:
    """Worker processes on one database and one data folder, while the context is open.

    They are numbered from ``first`` on, and pretend to be of the release ``version``. After
    ``silent_seconds`` without a word they take one another for dead.
    """

    def __init__(
        self,
        folder: Path,
        url: str,
        destination: Destination,
        seconds: float,
        count: int,
        *,
        first: int = 1,
        version: str = __version__,
        silent_seconds: float = SILENT_SECONDS,
    ) -> None:
        peer = {"name": "archive", "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": destination.port}
        settings = {
            "node": {"data_folder": str(folder / "data"), "database_url": url},
            "completeness": {"quiet_seconds": {"CT": 0.0}},
            "peers": [peer | {"receives_results": True}],
        }
        path = folder / f"workers-{first}.yaml"
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")
        self.config: Config = load_config(path)
        self.ids = [f"worker-{number}" for number in range(first, first + count)]
        command = [sys.executable, "-m", "benchmarks.sleeping_worker", str(path), str(seconds), *self.ids]
        pretended = {VERSION_VARIABLE: version, SILENT_VARIABLE: str(silent_seconds)}
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **pretended}
        self._process = Process("workers", command, folder / f"workers-{first}.log", environment)
        self.database = Database(url)

    def __enter__(self) -> Self:
        self._process.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.database.close()
        self._process.stop()

    def await_ready(self) -> None:
        """Wait until each has told of itself."""
        self._process.wait_until(lambda: self._beating() == len(self.ids), _START_SECONDS)

    def kill(self, worker_id: str) -> None:
        """End a worker for good, between two instructions."""
        lines = self._process.log.read_text(encoding="utf-8").splitlines()
        processes = dict(line.split() for line in lines if line.startswith("worker-") and len(line.split()) == 2)
        os.kill(int(processes[worker_id]), signal.SIGKILL)

    def submit(self, count: int) -> None:
        """Store studies of one image each, complete at once."""
        self.database.create_tables()
        store = InstanceStore(self.config.instances_folder, self.config.incoming_folder)
        archive = Archive(store, InstanceIndex(self.database))
        for study in _studies(count):
            path = self.config.incoming_folder / f"{study.SOPInstanceUID}.part"
            dcmwrite(path, study, enforce_file_format=True)
            archive.accept(path, Association("MODALITY", "DICOMNODE", "127.0.0.1"))

    def analyses_by_worker(self) -> Counter[str]:
        """How many analyses each worker carried out, as the workflow engine has it."""
        query = "SELECT executor_id, count(*) FROM dbos.workflow_status WHERE name LIKE '%analyse' GROUP BY executor_id"
        with self.database.engine.connect() as connection:
            return Counter({str(worker): int(number) for worker, number in connection.execute(sa.text(query))})

    def _beating(self) -> int:
        with contextlib.suppress(sa.exc.SQLAlchemyError), self.database.reading() as session:
            own = sa.select(sa.func.count()).where(WorkerRow.worker_id.in_(self.ids))
            return session.scalar(own) or 0
        return 0


def _studies(count: int) -> Iterator[Dataset]:
    original: Sequence[Dataset] = chest_ct(slices=2, size=64)[:1]
    for _ in range(count):
        yield from renamed(original)


def _round(workers: Workers, destination: Destination, studies: int, *, kill: bool) -> tuple[dict[str, Any], list[str]]:
    # The first study of a process costs a second of imports, which a worker with real models has behind it.
    warming = 2 * len(workers.ids)
    workers.submit(warming)
    if not destination.await_objects(warming * _OBJECTS, 600.0):
        return {"workers": len(workers.ids)}, [f"{len(workers.ids)} workers: not even the first studies were delivered"]
    warmed = workers.analyses_by_worker()
    began = time.perf_counter()
    workers.submit(studies)
    killed = 0.0
    if kill:
        destination.await_objects((warming + studies // 3) * _OBJECTS, 600.0)
        workers.kill(workers.ids[-1])
        killed = time.perf_counter()
    complete = destination.await_objects((warming + studies) * _OBJECTS, 600.0)
    ended = time.perf_counter()
    shares = workers.analyses_by_worker() - warmed
    twice = sum(count - 1 for count in destination.received.values())
    row: dict[str, Any] = {
        "workers": len(workers.ids),
        "studies": studies,
        "seconds": ended - began,
        "studies a minute": 60 * studies / (ended - began),
        "fewest by a worker": min(shares[worker] for worker in workers.ids),
        "most by a worker": max(shares.values(), default=0),
        "delivered twice": twice,
    }
    if kill:
        row["seconds from kill to the last result"] = ended - killed
    failures = [] if complete else [f"{len(workers.ids)} workers: not everything was delivered within ten minutes"]
    failures += [f"{len(workers.ids)} workers: {twice} objects were delivered twice"] if twice else []
    return row, failures
