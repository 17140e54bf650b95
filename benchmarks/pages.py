"""How long every page takes with many studies in the database, on SQLite and PostgreSQL."""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import httpx
import uvicorn

from benchmarks import postgresql
from benchmarks.large_database import (
    DESTINATION,
    MODEL,
    RARE_MODALITY,
    SOURCES,
    accession_number,
    fill,
    patient_id,
    study_uid,
)
from benchmarks.query_plans import noted_statements, whole_tables
from benchmarks.report import Report
from dicom_node.access.api_keys import ApiKeys
from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.demo.processes import free_port
from dicom_node.domain import Role
from dicom_node.web.app import create_app

LIMIT_MS = 200.0
_SOME = 234


def paths() -> dict[str, str]:
    """Every page that asks the database, and the list of studies with each filter, by what it is called."""
    filters = {
        "accession number": {"q": accession_number(_SOME)},
        "start of an accession number": {"q": accession_number(_SOME)[:4]},
        "patient": {"patient": patient_id(_SOME)},
        "family name": {"patient": "Muel"},
        "failed": {"state": "failed"},
        "source": {"source": SOURCES[0]},
        "model": {"model": MODEL},
        "rare modality": {"modality": RARE_MODALITY},
        "failed, of a source and modality": {"state": "failed", "source": SOURCES[1], "modality": "CT"},
        "three days of a modality": {"modality": "MR", "received_from": "2020-01-01", "received_to": "2020-01-03"},
    }
    return {
        "overview": "/",
        "studies": "/studies",
        **{f"studies: {name}": f"/studies?{urlencode(values)}" for name, values in filters.items()},
        "one study": f"/studies/{study_uid(_SOME)}",
        "rule tester": "/rules",
        "models": "/models",
        "one model": f"/models/{MODEL}",
        "versions of a model": f"/models/{MODEL}/versions",
        "peers": "/peers",
        "audit": "/audit",
        "users and keys": "/access",
        "metrics": "/metrics",
        "API: overview": "/api/overview",
        "API: studies": "/api/studies?limit=200",
        "API: one study": f"/api/studies/{study_uid(_SOME)}",
        "API: refusals": "/api/refusals?limit=200",
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How many studies, and how often each page is asked for."""
    parser.add_argument("--studies", type=int, default=100_000, metavar="N")
    parser.add_argument("--rounds", type=int, default=9, metavar="N", help="after one that warms up")
    parser.add_argument("--models-folder", type=Path, default=Path("models"))


def run(arguments: argparse.Namespace) -> Report:
    """Fill a database of each kind and ask for every page."""
    report = Report(f"pages with {arguments.studies} studies, median of {arguments.rounds}")
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'node.sqlite'}"
        _measure("SQLite", url, Path(folder) / "sqlite", arguments, report)
        try:
            with postgresql.server() as server, postgresql.empty_database(server) as url:
                _measure("PostgreSQL", url, Path(folder) / "postgresql", arguments, report)
        except postgresql.ServerMissing as missing:
            report.notes.append(f"PostgreSQL is left out: {missing}.")
    return report


def _measure(kind: str, url: str, folder: Path, arguments: argparse.Namespace, report: Report) -> None:
    folder.mkdir()
    node = {"data_folder": str(folder), "database_url": url, "models_folder": str(arguments.models_folder.absolute())}
    peer = {"name": DESTINATION, "ae_title": "ARCHIVE", "host": "127.0.0.1", "port": 104, "receives_results": True}
    config = Config.model_validate({"node": node, "receive": {"port": free_port()}, "peers": [peer]})
    database = Database(url)
    database.create_tables()
    begun = time.monotonic()
    fill(database, arguments.studies, now())
    report.notes.append(f"{kind} was filled in {time.monotonic() - begun:.0f} s.")
    with _served(config, database) as client:
        for name, path in paths().items():
            with noted_statements(database.engine) as statements:
                client.get(path).raise_for_status()
            times = []
            for _ in range(arguments.rounds):
                asked = time.perf_counter()
                client.get(path).raise_for_status()
                times.append((time.perf_counter() - asked) * 1000)
            scans = whole_tables(database.engine, statements)
            report.rows.append(
                {
                    "database": kind,
                    "page": name,
                    "median, ms": median(times),
                    "slowest, ms": max(times),
                    "statements": len(statements),
                    "whole tables": len(scans),
                }
            )
            report.failures += [f"{kind}, {name}: reads the whole of {scan}" for scan in scans]
            if median(times) > LIMIT_MS:
                report.failures.append(f"{kind}, {name}: {median(times):.0f} ms at the median")
    database.close()


@contextmanager
def _served(config: Config, database: Database) -> Iterator[httpx.Client]:
    """A client with an administrator's key of a web process in this one."""
    port = free_port()
    settings = uvicorn.Config(create_app(config, database), port=port, log_level="error", lifespan="off")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    _, key = ApiKeys(database, config.secret_path).add("benchmark", Role.ADMIN)
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60.0) as client:
        yield client
    server.should_exit = True
    thread.join()
