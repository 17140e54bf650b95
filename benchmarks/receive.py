"""How fast CT instances of 512 KiB are received, by the node and by what else a hospital would use."""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

from benchmarks.instances import write_ct_instances
from benchmarks.machine import first_line, processor_seconds
from benchmarks.report import Report
from benchmarks.rounds import interleaved
from benchmarks.senders import Dcmsend, OrthancSender, Sender
from benchmarks.storage_scps import (
    BucketReceiver,
    NodeReceiver,
    OrthancScp,
    PlainPynetdicom,
    StorageScp,
    Storescp,
    missing,
)

ScpMaker = Callable[[Path], StorageScp]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much is sent, how often, and over how many associations."""
    parser.add_argument("--instances", type=int, nargs="+", default=[300, 1000], metavar="N")
    parser.add_argument("--associations", type=int, nargs="+", default=[1, 4, 8], metavar="N")
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--sender", choices=("dcmsend", "orthanc"), default="dcmsend")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="of the SCPs, only these")
    parser.add_argument("--folder", type=Path, help="where the SCPs keep their files; else the temporary folder")


def run(arguments: argparse.Namespace) -> Report:
    """Send to each SCP in turn; each begins each time with an empty store."""
    make_sender = OrthancSender if arguments.sender == "orthanc" else Dcmsend
    report = Report(f"CT instances of 512 KiB from {make_sender.work}")
    report.notes += missing("dcmsend", "storescp", "Orthanc")
    report.notes += [
        f"{name}: {version}" for name in ("dcmsend", "Orthanc") if (version := first_line([name, "--version"]))
    ]
    scps = {name: make for name, make in _scps().items() if not arguments.only or name in arguments.only}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        report.notes.append(_durability(Path(folder)))
        for count in arguments.instances:
            own = Path(folder, str(count))
            files = write_ct_instances(own / "files", count)
            with make_sender(files, own) as sender:
                for associations in arguments.associations:
                    _measure(report, scps, sender, files, associations, arguments.rounds, own)
    return report


def _scps() -> dict[str, ScpMaker]:
    scps: dict[str, ScpMaker] = {
        "dicom-node": NodeReceiver,
        "dicom-node, 2 processes": partial(NodeReceiver, processes=2),
        "dicom-node, S3": BucketReceiver,
    }
    if not missing("storescp"):
        scps["storescp (not durable)"] = Storescp
    if not missing("Orthanc"):
        scps["Orthanc"] = partial(OrthancScp, nagle=True)
        scps["Orthanc, TCP_NODELAY=1"] = partial(OrthancScp, nagle=False)
    scps["pynetdicom (not durable)"] = PlainPynetdicom
    return scps


def _measure(
    report: Report,
    scps: dict[str, ScpMaker],
    sender: Sender,
    files: list[Path],
    associations: int,
    rounds: int,
    folder: Path,
) -> None:
    megabytes = sum(file.stat().st_size for file in files) / 1e6
    processor: dict[str, list[float]] = {name: [] for name in scps}
    competitors = {
        name: partial(_timed, make, sender, associations, len(files), folder, processor[name])
        for name, make in scps.items()
    }
    figures = interleaved(competitors, rounds)
    node = median(figures["dicom-node"]) if "dicom-node" in figures else None
    for name, seconds in figures.items():
        middle = median(seconds)
        report.rows.append(
            {
                "SCP": name,
                "instances": len(files),
                "assoc.": associations,
                "seconds": middle,
                "min": min(seconds),
                "max": max(seconds),
                "MB/s": megabytes / middle,
                "ms each": middle / len(files) * 1e3,
                "CPU ms each": median(processor[name]) / len(files) * 1e3,
                "node / this": node / middle if node is not None else None,
            }
        )


def _timed(
    make: ScpMaker, sender: Sender, associations: int, count: int, folder: Path, processor: list[float]
) -> float:
    """Seconds that the sender takes; the SCP must then hold every instance.

    What the SCP took of the processor meanwhile, in seconds, is added to ``processor``.
    """
    with tempfile.TemporaryDirectory(dir=folder) as own, make(Path(own)) as scp:
        used, started = _processor_seconds(scp), time.perf_counter()
        sender.send(scp, associations)
        seconds = time.perf_counter() - started
        processor.append(_processor_seconds(scp) - used)
        if scp.held() != count:
            words = scp.process.last_words()
            raise RuntimeError(f"{scp.process.name} holds {scp.held()} of {count} instances. {words}")
    return seconds


def _processor_seconds(scp: StorageScp) -> float:
    return sum(processor_seconds(process.pid) for process in (scp.process, *scp.siblings))


def _durability(folder: Path) -> str:
    """What durability costs on this disk with nothing around it."""
    content = os.urandom(525 << 10)
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(200):
        durable = bool(number % 2)
        started = time.perf_counter()
        with (folder / f"probe-{number}").open("wb", buffering=0) as file:
            file.write(content)
            if durable:
                os.fdatasync(file.fileno())
        times[durable].append(time.perf_counter() - started)
    written, synced = (median(times[durable]) * 1e3 for durable in (False, True))
    return (
        f"Writing 525 KiB takes {written:.2f} ms on this disk, {synced:.2f} ms with fdatasync: "
        "an SCP that syncs each instance cannot go below the difference."
    )
