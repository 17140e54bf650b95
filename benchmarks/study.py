"""From the last image acknowledged to report and capture stored at the destination, against the model alone.

A study counts as through once the node has written down that its destination acknowledged both objects.
"""

from __future__ import annotations

import argparse
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import httpx
import pydicom
from pydicom.dataset import Dataset

from benchmarks.machine import first_line
from benchmarks.report import Report
from benchmarks.storage_scps import NAGLE_OFF, OrthancScp, StorageScp, destination, missing
from benchmarks.studies import Modality, read_study, renamed
from dicom_node.config import load_config
from dicom_node.demo import phantoms
from dicom_node.demo.archives import Orthanc
from dicom_node.demo.node import Node
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.models import Models
from dicom_node.processes import load_models

OBJECTS = 2
"""One report and one capture."""

_PATIENCE_SECONDS = 240.0
MODELS = {"radiograph": "chest_xray", "chest CT": "lung_ct", "abdominal CT": "kidney_ct"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How often, and with which images."""
    parser.add_argument("--rounds", type=int, default=5, metavar="N")
    parser.add_argument("--chest-ct", type=Path, metavar="FOLDER", help="a real chest CT instead of a synthetic one")
    parser.add_argument("--slices", type=int, default=300, metavar="N", help="of the abdominal CT")


def run(arguments: argparse.Namespace) -> Report:
    """Send one study at a time to a whole node with its own models; a router's release stands for the quiet period."""
    report = Report("Last image acknowledged to SR and SC stored at the destination; released at once, no quiet period")
    report.notes += missing("storescp", "Orthanc")
    report.notes += [f"Orthanc: {version}" for version in [first_line(["Orthanc", "--version"])] if version]
    studies = {
        "radiograph": phantoms.chest_radiograph(size=2048),
        "chest CT": read_study(arguments.chest_ct) if arguments.chest_ct else phantoms.chest_ct(slices=98, size=512),
        "abdominal CT": phantoms.abdomen_ct(slices=arguments.slices, size=512),
    }
    with tempfile.TemporaryDirectory() as folder:
        scps: list[StorageScp] = [destination(Path(folder, "files"))]
        if Orthanc.is_installed():
            scps.append(OrthancScp(Path(folder, "orthanc"), nagle=False))
        for scp in scps:
            own = Path(folder, scp.process.name)
            with scp, Node(own / "node", (scp.ae_title, scp.port), quiet_seconds=600.0) as node:
                wait_for_worker(node)
                models = load_models(load_config(own / "node" / "node.yaml"))
                for name, study in studies.items():
                    report.rows.append(_row(name, study, arguments.rounds, node, scp, models, own))
    report.notes.append(
        "Decoding and model are measured beside it, in the same run, on the same images from their own files: "
        "imaging.read_stacks and ModelReader.read, heat maps included."
    )
    report.notes.append(f"TCP_NODELAY={NAGLE_OFF['TCP_NODELAY']} at the destinations. The first round is not counted.")
    return report


def wait_for_worker(node: Node) -> None:
    """Until the worker has loaded its models, which comes after the web pages are ready."""
    node.process.wait_until(lambda: "is ready with" in node.process.log.read_text(encoding="utf-8"), 300.0)


def _row(
    name: str, study: Sequence[Dataset], rounds: int, node: Node, scp: StorageScp, models: Models, own: Path
) -> dict[str, str | int | float | None]:
    whole, decoding, reading = [], [], []
    for number in range(rounds + 1):
        seconds = _through_the_node(renamed(study), node, scp)
        alone = _alone(renamed(study), MODELS[name], models, own / f"{name}-{number}")
        if number:
            whole.append(seconds)
            decoding.append(alone[0])
            reading.append(alone[1])
    total, decode, model = median(whole), median(decoding), median(reading)
    return {
        "study": name,
        "images": len(study),
        "destination": scp.process.name,
        "seconds": total,
        "min": min(whole),
        "max": max(whole),
        "decode": decode,
        "model": model,
        "beyond the model, ms": (total - model) * 1e3,
        "/ (decode + model)": total / (decode + model),
    }


def _through_the_node(study: Sequence[Dataset], node: Node, scp: StorageScp) -> float:
    """Seconds until the node knows that the destination has acknowledged everything."""
    held = scp.held()
    uid = study[0].StudyInstanceUID
    with (
        httpx.Client(base_url=node.url, headers=node.headers, timeout=30.0) as router,
        contextlib.closing(sqlite3.connect(node.folder / "data" / "node.sqlite", timeout=30.0)) as database,
    ):
        acknowledged = Modality(node.dicom_port).send(study)
        router.post(f"/api/studies/{uid}/complete").raise_for_status()
        state = "SELECT 1 FROM studies WHERE study_instance_uid = ? AND state = 'delivered'"
        while database.execute(state, [uid]).fetchone() is None:
            if time.perf_counter() - acknowledged > _PATIENCE_SECONDS:
                raise RuntimeError(f"no results: {node.state(uid)}")
            time.sleep(0.005)
    seconds = time.perf_counter() - acknowledged
    if scp.held() != held + OBJECTS:
        raise RuntimeError(f"{scp.process.name} holds {scp.held() - held} objects of a study, not {OBJECTS}")
    return seconds


def _alone(study: Sequence[Dataset], model: str, models: Models, folder: Path) -> tuple[float, float]:
    """Seconds to decode a study from files not read before, and seconds for the model to read it."""
    folder.mkdir()
    paths = [folder / f"{number:05}.dcm" for number in range(len(study))]
    for path, dataset in zip(paths, study, strict=True):
        pydicom.dcmwrite(path, dataset, enforce_file_format=True)
    reader = models.reader(model)
    started = time.perf_counter()
    stack = read_stacks(reader.bundle.manifest.kind, paths).stacks[0]
    decoded = time.perf_counter()
    reader.read(stack, study[0].SeriesInstanceUID)
    return decoded - started, time.perf_counter() - decoded
