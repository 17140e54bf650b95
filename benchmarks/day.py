"""A simulated day in fast motion: radiographs and CTs from several senders at rising load, until a backlog grows."""

from __future__ import annotations

import argparse
import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from math import exp
from pathlib import Path
from statistics import median

import pydicom
from pydicom.dataset import Dataset

from benchmarks.report import Figure, Report
from benchmarks.storage_scps import PlainPynetdicom, Storescp, destination
from benchmarks.studies import Modality, renamed
from benchmarks.study import wait_for_worker
from dicom_node.config import load_config
from dicom_node.demo import phantoms
from dicom_node.demo.node import Node
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.models import Models
from dicom_node.processes import load_models

SENDERS = ("CR1", "CR2", "CT1", "ER_CT")
URGENT_SHARE = 0.1
CT_SHARE = 0.3
QUIET_SECONDS = 0.5
_ENDED = ("delivered", "failed", "not applicable")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which studies, and how the load rises, or how many studies one steady load has."""
    parser.add_argument("--pixels", type=int, default=2048, metavar="N", help="of a radiograph, along each side")
    parser.add_argument("--slices", type=int, default=100, metavar="N", help="of a CT")
    parser.add_argument("--slice-pixels", type=int, default=512, metavar="N", help="of a slice, along each side")
    parser.add_argument("--seconds", type=float, default=20.0, metavar="S", help="of arrivals, for each load")
    parser.add_argument("--first-load", type=float, default=0.1, metavar="SHARE", help="of what the models alone read")
    parser.add_argument("--rise", type=float, default=1.5, metavar="FACTOR", help="from one load to the next")
    parser.add_argument("--studies", type=int, metavar="N", help="instead one steady load of N studies")
    parser.add_argument("--rate", type=float, default=1.0, metavar="N", help="studies a second of the steady load")
    parser.add_argument("--concurrent-studies", type=int, default=2, metavar="N", help="worker.concurrent_studies")


@dataclass(frozen=True, slots=True, eq=False)
class _Kind:
    """A kind of study: its images and the model that reads them."""

    name: str
    model: str
    images: list[Dataset]


def run(arguments: argparse.Namespace) -> Report:
    """A whole node with its own models; loads are shares of what the models alone could read."""
    report = Report(
        f"{1 - CT_SHARE:.0%} radiographs ({arguments.pixels} px), {CT_SHARE:.0%} CTs ({arguments.slices} images of "
        f"{arguments.slice_pixels} px) from {len(SENDERS)} senders, Poisson arrivals with a morning peak"
    )
    kinds = (
        _Kind("radiograph", "chest_xray", phantoms.chest_radiograph(size=arguments.pixels)),
        _Kind("CT", "kidney_ct", phantoms.abdomen_ct(slices=arguments.slices, size=arguments.slice_pixels)),
    )
    settings = {"worker": {"concurrent_studies": arguments.concurrent_studies}}
    with tempfile.TemporaryDirectory() as name, destination(Path(name, "archive")) as archive:
        folder = Path(name)
        address = archive.ae_title, archive.port
        with Node(folder / "node", address, quiet_seconds=QUIET_SECONDS, settings=settings) as node:
            wait_for_worker(node)
            pure = _pure_rate(load_models(load_config(folder / "node" / "node.yaml")), kinds, folder)
            day = Day(node, folder / "node" / "data" / "node.sqlite", kinds, archive)
            if arguments.studies:
                _steady(report, day, arguments.studies, arguments.rate)
            else:
                report.rows += day.rising(arguments.first_load, arguments.rise, arguments.seconds, pure)
    report.notes += [
        f"The models alone, images decoded, read {pure:.2f} such studies a second. Senders and archive "
        f"({archive.process.name}) run on the same machine.",
        f"{URGENT_SHARE:.0%} of the studies are urgent (Requested Procedure Priority STAT). Of a wait, "
        f"{QUIET_SECONDS:g} s are the quiet period.",
    ]
    return report


def _pure_rate(models: Models, kinds: Sequence[_Kind], folder: Path) -> float:
    """Studies of the mix that the models read in a second, one after another."""
    seconds = []
    for kind in kinds:
        paths = [folder / f"{kind.name}-{number}.dcm" for number in range(len(kind.images))]
        for path, dataset in zip(paths, kind.images, strict=True):
            pydicom.dcmwrite(path, dataset, enforce_file_format=True)
        reader = models.reader(kind.model)
        stack = read_stacks(reader.bundle.manifest.kind, paths).stacks[0]
        times = []
        for _ in range(6):
            started = time.perf_counter()
            reader.read(stack, "")
            times.append(time.perf_counter() - started)
        seconds.append(median(times[1:]))
    return 1 / ((1 - CT_SHARE) * seconds[0] + CT_SHARE * seconds[1])


class Day:
    """Sends studies to a node and looks at its rows."""

    def __init__(self, node: Node, database: Path, kinds: Sequence[_Kind], archive: Storescp | PlainPynetdicom) -> None:
        self._node, self._database, self._kinds, self._archive = node, database, kinds, archive
        self._random = random.Random(1)  # noqa: S311 - arrivals, the same in every run
        self.sent = 0

    def rising(self, share: float, rise: float, seconds: float, pure: float) -> Iterator[dict[str, Figure]]:
        """Live through one load after the other until a backlog grows: a fifth of the studies waits at the close."""
        grows = False
        while not grows:
            row = self.live(share * pure, seconds, pure)
            waiting, studies = row["waiting at the close"], row["studies"]
            grows = isinstance(waiting, int) and isinstance(studies, int) and waiting > max(4, studies / 5)
            share *= rise
            yield row

    def live(self, rate: float, seconds: float, pure: float) -> dict[str, Figure]:
        """Let studies arrive for ``seconds``, wait until all are through, and say how that went."""
        began, before = time.time(), self.sent
        arrivals = self.arrivals(rate, seconds)
        with ThreadPoolExecutor(len(SENDERS)) as senders:
            sending = [senders.submit(self._send_at, began + at) for at in arrivals]
            time.sleep(max(0.0, began + seconds - time.time()))
            waiting_at_close = self.waiting()
            self.finish(sending)
        ended = self._rows("SELECT max(finished_at) FROM analyses")[0][0]
        studies = self.sent - before
        through = studies / (_seconds(ended) - began)
        urgent, routine = self._waits(began)
        return {
            "load": f"{rate / pure:.0%}",
            "studies/s offered": studies / seconds,
            "studies": studies,
            "waiting at the close": waiting_at_close,
            "studies/s through": through,
            "of the models alone": f"{through / pure:.0%}",
            "wait of urgent, s": urgent,
            "wait of routine, s": routine,
            "RSS, MB": self.resident_megabytes(),
            "handles": self.handles(),
        }

    def finish(self, sending: Sequence[Future[None]]) -> None:
        """Wait until everything was sent and has ended."""
        for future in sending:
            future.result()
        while self.waiting():
            time.sleep(0.1)
        self._archive.forget()

    def send(self) -> None:
        """One study of the mix, urgent now and then."""
        kind = self._kinds[self._random.random() < CT_SHARE]
        study = renamed(kind.images)
        if self._random.random() < URGENT_SHARE:
            for dataset in study:
                dataset.RequestedProcedurePriority = "STAT"
        self.sent += 1
        Modality(self._node.dicom_port, ae_title=self._random.choice(SENDERS)).send(study)

    def waiting(self) -> int:
        """Studies that have come and not ended."""
        marks = ", ".join("?" * len(_ENDED))
        return int(self._rows(f"SELECT count(*) FROM studies WHERE state NOT IN ({marks})", *_ENDED)[0][0])  # noqa: S608

    def failed(self) -> int:
        """Studies that ended without results."""
        return int(self._rows("SELECT count(*) FROM studies WHERE state != 'delivered'")[0][0])

    def resident_megabytes(self) -> float:
        """Resident memory of all processes of the node, shared pages counted in each."""
        return sum(_resident_kilobytes(pid) for pid in _family(self._node.process.pid)) / 1024

    def handles(self) -> int:
        """Open file descriptors of all processes of the node."""
        return sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in _family(self._node.process.pid))  # noqa: PTH208

    def _send_at(self, at: float) -> None:
        time.sleep(max(0.0, at - time.time()))
        self.send()

    def arrivals(self, rate: float, seconds: float) -> list[float]:
        """Times of a Poisson process that is thinned to a quiet day with a peak at a third of it."""

        def share(at: float) -> float:
            return 0.7 + 0.95 * exp(-(((at - seconds / 3) / (seconds / 6)) ** 2))

        mean = sum(share(seconds * (i + 0.5) / 100) for i in range(100)) / 100
        highest, at, arrivals = share(seconds / 3) / mean, 0.0, list[float]()
        while (at := at + self._random.expovariate(rate * highest)) < seconds:
            if self._random.random() < share(at) / mean / highest:
                arrivals.append(at)
        return arrivals

    def _waits(self, since: float) -> tuple[float | None, float | None]:
        """Median seconds from the last image to the beginning of the analysis, of urgent and of routine studies."""
        rows = self._rows(
            "SELECT a.last_image_at, a.created_at, EXISTS (SELECT 1 FROM events e WHERE e.study_instance_uid = "
            "a.study_instance_uid AND e.text LIKE 'Complete%urgent%') FROM analyses a"
        )
        waits: tuple[list[float], list[float]] = [], []
        for last, begun, urgent in rows:
            if _seconds(last) >= since:
                waits[0 if urgent else 1].append(_seconds(begun) - _seconds(last))
        return median(waits[0]) if waits[0] else None, median(waits[1]) if waits[1] else None

    def _rows(self, query: str, *values: str) -> list[tuple[str, ...]]:
        connection = sqlite3.connect(self._database, timeout=30)
        try:
            return connection.execute(query, values).fetchall()
        finally:
            connection.close()


def _steady(report: Report, day: Day, studies: int, rate: float) -> None:
    """``studies`` at a load that the node bears; a row for each tenth, so that what grows is seen."""
    with ThreadPoolExecutor(len(SENDERS)) as senders:
        for tenth in range(10):
            started = time.perf_counter()
            sending = [senders.submit(_paced(day.send, number / rate)) for number in range(studies // 10)]
            for future in sending:
                future.result()
            waiting = day.waiting()
            day.finish([])
            report.rows.append(
                {
                    "studies so far": day.sent,
                    "waiting": waiting,
                    "studies/s": studies // 10 / (time.perf_counter() - started),
                    "RSS, MB": day.resident_megabytes(),
                    "handles": day.handles(),
                    "not delivered": day.failed(),
                }
            )
            print(tenth + 1, "of 10", report.rows[-1], flush=True)  # noqa: T201 - it takes long
    if day.failed():
        report.failures.append(f"{day.failed()} studies were not delivered.")


def _paced(send: Callable[[], None], delay: float) -> Callable[[], None]:
    due = time.perf_counter() + delay

    def paced() -> None:
        time.sleep(max(0.0, due - time.perf_counter()))
        send()

    return paced


def _family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except FileNotFoundError:
        return []
    return [pid, *(member for child in children for member in _family(int(child)))]


def _resident_kilobytes(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    return 0


def _seconds(stamp: str) -> float:
    return datetime.fromisoformat(f"{stamp}+00:00").timestamp()
