"""How much memory one large multi-frame object takes at the receiver."""

from __future__ import annotations

import argparse
import re
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks.instances import write_large_object
from benchmarks.receive import ScpMaker
from benchmarks.report import Report
from benchmarks.rounds import interleaved
from benchmarks.senders import start_dcmsend
from benchmarks.storage_scps import NodeReceiver, PlainPynetdicom, missing

LIMIT_MIB = 150.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How large the object is and how often it is sent."""
    parser.add_argument("--megabytes", type=int, default=500, metavar="N")
    parser.add_argument("--rounds", type=int, default=3, metavar="N")
    parser.add_argument("--folder", type=Path, help="where the SCPs keep their files; else the temporary folder")


def run(arguments: argparse.Namespace) -> Report:
    """Send it to the node and to a plain pynetdicom SCP, and read the peak of the process's resident memory."""
    report = Report(f"One multi-frame object of {arguments.megabytes} MiB from dcmsend")
    report.notes += missing("dcmsend")
    peaks: dict[str, list[float]] = {}
    idle: dict[str, list[float]] = {}

    def receive(name: str, make: ScpMaker, part: Path, folder: Path) -> float:
        with tempfile.TemporaryDirectory(dir=folder) as own, make(Path(own)) as scp:
            idle.setdefault(name, []).append(_peak_mib(scp.process.pid))
            started = time.perf_counter()
            status = start_dcmsend(scp, part).wait()
            seconds = time.perf_counter() - started
            peaks.setdefault(name, []).append(_peak_mib(scp.process.pid))
            if status or scp.held() != 1:
                raise RuntimeError(f"{name} does not hold the object. {scp.process.last_words()}")
        return seconds

    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        part = folder / "sent"
        part.mkdir()
        write_large_object(part / "large.dcm", arguments.megabytes)
        figures = interleaved(
            {
                "dicom-node": lambda: receive("dicom-node", NodeReceiver, part, folder),
                "pynetdicom": lambda: receive("pynetdicom", PlainPynetdicom, part, folder),
            },
            arguments.rounds,
        )
    for scp, seconds in figures.items():
        report.rows.append(
            {
                "SCP": scp,
                "peak RSS MiB": max(peaks[scp]),
                "before MiB": median(idle[scp]),
                "seconds": median(seconds),
                "MB/s": arguments.megabytes * 1.048576 / median(seconds),
            }
        )
    if max(peaks["dicom-node"]) >= LIMIT_MIB:
        report.failures.append(f"the receiver took {max(peaks['dicom-node']):.0f} MiB, {LIMIT_MIB:.0f} are allowed")
    return report


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"^VmHWM:\s+(\d+) kB", status, re.M)[0]) / 1024
