"""The storage SCPs that receive in turn: the node, DCMTK's storescp, Orthanc and a plain pynetdicom one."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import httpx
import sqlalchemy as sa
import yaml

from benchmarks.s3_server import S3Server
from dicom_node.config import load_config
from dicom_node.database import Database
from dicom_node.demo.archives import Orthanc
from dicom_node.demo.processes import Process, free_port
from dicom_node.tables import InstanceRow

READY_SECONDS = 60.0
NAGLE_OFF = {**os.environ, "TCP_NODELAY": "1"}
"""Environment in which DCMTK's programs, and Orthanc, which is built on it, turn Nagle's algorithm off."""


class StorageScp(Protocol):
    """A storage SCP that runs, with an empty store, while its context is open."""

    ae_title: str
    port: int
    process: Process
    siblings: tuple[Process, ...]

    def __enter__(self) -> Self:
        """Start it."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""

    def held(self) -> int:
        """How many instances it holds: the check that a fast answer was not an empty one."""


class _Program:
    """A storage SCP that is one program listening on one port."""

    def __init__(
        self, name: str, ae_title: str, command: list[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.ae_title = ae_title
        self.process = Process(name, command, folder / f"{name}.log", environment)
        self.siblings: tuple[Process, ...] = ()

    port: int

    def __enter__(self) -> Self:
        try:
            for number, process in enumerate((self.process, *self.siblings), 1):
                process.start()
                process.wait_until(partial(_listeners_reach, number, self.port), READY_SECONDS)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stop()

    def _stop(self) -> None:
        for process in (self.process, *self.siblings):
            process.stop()


class NodeReceiver(_Program):
    """The node's receiver, in one process or in ``processes`` that share the port, with settings of ``receive``."""

    def __init__(
        self,
        folder: Path,
        processes: int = 1,
        environment: dict[str, str] | None = None,
        store: Mapping[str, object] | None = None,
        **receive: object,
    ) -> None:
        self.port, self._data = free_port(), folder / "data"
        sections = {
            "node": {"data_folder": str(self._data), "log_level": "WARNING"},
            "store": dict(store) if store is not None else None,
            "receive": {
                "host": "127.0.0.1",
                "port": self.port,
                "minimum_free_megabytes": 0,
                "processes": processes,
                **receive,
            },
        }
        configuration = self._configuration = folder / "node.yaml"
        configuration.write_text(yaml.safe_dump(sections), encoding="utf-8")
        command = [sys.executable, "-m", "dicom_node", "receiver", "--config", str(configuration)]
        super().__init__("dicom-node", "DICOMNODE", command, folder, environment)
        self.siblings = tuple(
            Process(f"dicom-node {number}", command, folder / f"dicom-node-{number}.log")
            for number in range(2, processes + 1)
        )

    def held(self) -> int:
        """Instances that are indexed and whose file lies where the index says."""
        database = Database(load_config(self._configuration).database_url)
        with database.reading() as session:
            paths = session.scalars(sa.select(InstanceRow.path)).all()
        database.close()
        return sum((self._data / "instances" / path).is_file() for path in paths)


class BucketReceiver(NodeReceiver):
    """The node's receiver with a bucket on an S3 server of this machine."""

    def __init__(self, folder: Path, processes: int = 1) -> None:
        self._server = S3Server(folder)
        super().__init__(folder, processes, store=self._server.settings)

    def __enter__(self) -> Self:
        self._server.start()
        return super().__enter__()

    def _stop(self) -> None:
        super()._stop()
        self._server.stop()

    def held(self) -> int:
        """Instances that are indexed, where there are as many objects."""
        return min(super().held(), len(self._server.objects()))


class _InFolder(_Program):
    """A storage SCP that writes files into a folder and does nothing else."""

    def __init__(
        self, name: str, ae_title: str, command: list[str], folder: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._store = folder / "store"
        self._store.mkdir()
        super().__init__(name, ae_title, command, folder, environment)

    def held(self) -> int:
        """Files."""
        return sum(path.is_file() for path in self._store.iterdir())

    def forget(self) -> None:
        """Delete what was received: the captures of a long day fill a disk."""
        for path in self._store.iterdir():
            path.unlink()


class Storescp(_InFolder):
    """DCMTK's storescp, which writes files and neither syncs nor indexes them; a process an association."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        options = ["--fork", "--prefer-uncompr", "--max-pdu", "131072", "--output-directory", str(folder / "store")]
        super().__init__("storescp", "STORESCP", ["storescp", *options, str(self.port)], folder, NAGLE_OFF)


class PlainPynetdicom(_InFolder):
    """The storage SCP of pynetdicom's documentation (``benchmarks/plain_pynetdicom.py``): files, no sync, no index."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "benchmarks.plain_pynetdicom", str(self.port), str(folder / "store")]
        super().__init__("pynetdicom", "PLAIN", command, folder)


class OrthancScp(Orthanc):
    """Orthanc as it comes, or with Nagle's algorithm off; it indexes, and does not sync."""

    def __init__(self, folder: Path, *, nagle: bool) -> None:
        environment = {key: value for key, value in os.environ.items() if key != "TCP_NODELAY"}
        super().__init__(folder, {}, environment=environment if nagle else NAGLE_OFF)
        self.port, self.process = self.dicom_port, self._process
        self.siblings: tuple[Process, ...] = ()

    def held(self) -> int:
        """Instances in its index."""
        return int(httpx.get(f"{self.url}/statistics", timeout=30.0).raise_for_status().json()["CountInstances"])


def destination(folder: Path) -> Storescp | PlainPynetdicom:
    """What takes a node's results and costs least beside it."""
    return Storescp(folder) if shutil.which("storescp") else PlainPynetdicom(folder)


def _listeners_reach(number: int, port: int) -> bool:
    """Whether ``number`` sockets listen on the port (proc(5), net/tcp)."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return sum(line[3] == "0A" and int(line[1].rpartition(":")[2], 16) == port for line in lines) >= number


def missing(*programs: str) -> list[str]:
    """A sentence for each program that this machine lacks."""
    return [f"{name} is not installed here and was not measured." for name in programs if shutil.which(name) is None]
