"""Who sends: DCMTK's dcmsend, or an Orthanc that routes what it holds; both with Nagle's algorithm off."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx

from benchmarks.storage_scps import NAGLE_OFF, StorageScp
from dicom_node.demo.archives import Orthanc


class Sender(Protocol):
    """Sends the same instances again and again."""

    work: str

    def __enter__(self) -> Self:
        """Prepare."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Clear up."""

    def send(self, scp: StorageScp, associations: int) -> None:
        """Send every instance, shared out over associations that run at the same time; returns when all have ended."""


class Dcmsend:
    """A dcmsend an association."""

    work = "dcmsend (TCP_NODELAY=1, +sd -nh --max-send-pdu 131072)"

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._files, self._folder = files, folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """There is nothing to clear up."""

    def send(self, scp: StorageScp, associations: int) -> None:
        """See ``Sender``."""
        running = [start_dcmsend(scp, part) for part in self._parts(associations)]
        statuses = [sender.wait() for sender in running]
        if any(statuses):
            raise RuntimeError(f"dcmsend ended with {statuses}. {scp.process.last_words()}")

    def _parts(self, associations: int) -> list[Path]:
        """A folder of links to its share of the files for each association."""
        parts = [self._folder / f"part-{associations}-{number}" for number in range(associations)]
        for number, part in enumerate(parts):
            if not part.exists():
                part.mkdir(parents=True)
                for file in self._files[number::associations]:
                    os.link(file, part / file.name)
        return parts


class OrthancSender:
    """An Orthanc that holds the instances; a C-STORE job an association."""

    work = "Orthanc (TCP_NODELAY=1)"

    def __init__(self, files: Sequence[Path], folder: Path) -> None:
        self._files = files
        self._orthanc = Orthanc(folder / "sender", {}, "SENDER", NAGLE_OFF)
        self._identifiers: list[str] = []

    def __enter__(self) -> Self:
        self._orthanc.__enter__()
        with httpx.Client(base_url=self._orthanc.url, timeout=60.0) as client:
            for file in self._files:
                answer = client.post("/instances", content=file.read_bytes()).raise_for_status()
                self._identifiers.append(answer.json()["ID"])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._orthanc.__exit__(kind, error, traceback)

    def send(self, scp: StorageScp, associations: int) -> None:
        """See ``Sender``."""
        target = f"{self._orthanc.url}/modalities/target"
        httpx.put(target, json={"AET": scp.ae_title, "Host": "127.0.0.1", "Port": scp.port}).raise_for_status()

        def store(share: list[str]) -> None:
            httpx.post(f"{target}/store", json=share, timeout=600.0).raise_for_status()

        with ThreadPoolExecutor(associations) as pool:
            list(pool.map(store, [self._identifiers[number::associations] for number in range(associations)]))


def start_dcmsend(scp: StorageScp, part: Path) -> subprocess.Popen[bytes]:
    """Start sending the files below ``part`` over one association."""
    options = ["+sd", "-nh", "--max-send-pdu", "131072", "--call", scp.ae_title]
    command = ["dcmsend", *options, "127.0.0.1", str(scp.port), str(part)]
    return subprocess.Popen(command, env=NAGLE_OFF, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
