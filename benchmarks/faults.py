"""Kills the node's processes at random moments under load, and holds what is left against its promises."""

from __future__ import annotations

import argparse
import copy
import hashlib
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pydicom
import sqlalchemy as sa
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE, AllStoragePresentationContexts, build_context, evt

from benchmarks.report import Report
from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.demo.node import Node
from dicom_node.demo.phantoms import abdomen_ct
from dicom_node.demo.processes import answers, free_port
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.tables import AnalysisRow, DeliveryRow, InstanceRow, ResultRow, SeriesRow, StudyRow
from dicom_node.transport import associate
from dicom_node.web.actions import Action, NotPossible, Request, UnknownStudy, act

MODEL = Path(__file__).parents[1] / "models" / "kidney_ct"
PROCESSES = ("receiver", "worker", "web", "supervisor")
_STUDIES_A_BATCH = 6
_IMAGES = 10
_SENDERS = 2
_SETTLE_SECONDS = 300.0
_MOST_INTERRUPTIONS = 2
"""A study that ends the worker three times is parked, as it should be; the killer spares it before."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--rounds", type=int, default=200, help="processes to kill")
    parser.add_argument("--batch", type=int, default=20, help="kills between two checks")
    parser.add_argument("--seed", type=int, default=None, help="of the moments and the choice of processes")


def run(arguments: argparse.Namespace) -> Report:
    """Send, kill, wait until all studies have ended, check; and again."""
    chance = random.Random(arguments.seed)  # noqa: S311 - moments, not secrets
    report = Report(f"{arguments.rounds} processes killed with SIGKILL under load")
    with tempfile.TemporaryDirectory(prefix="dicom-node-faults-") as folder:
        trial = Trial(Path(folder), chance)
        try:
            trial.start()
            for first in range(0, arguments.rounds, arguments.batch):
                trial.batch(min(arguments.batch, arguments.rounds - first))
        finally:
            trial.stop()
        report.rows = [trial.figures()]
        report.failures = trial.broken
        report.notes = [f"killed: {', '.join(f'{count} x {name}' for name, count in sorted(trial.killed.items()))}"]
    return report


@dataclass(slots=True)
class Destination:
    """A storage SCP that counts how often it was given which object, and of which study."""

    port: int
    times: Counter[str] = field(default_factory=Counter)
    studies: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    _server: object = None

    def start(self) -> None:
        """Listen."""
        entity = AE("ARCHIVE")
        entity.supported_contexts = AllStoragePresentationContexts
        entity.start_server(("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)])

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        self.times[dataset.SOPInstanceUID] += 1
        self.studies[dataset.StudyInstanceUID][dataset.SOPInstanceUID] = dataset.Modality
        return 0x0000


class Modality:
    """Sends studies, each image again and again until it is acknowledged, and says when a study is complete."""

    def __init__(self, port: int, database: Database, pixels: list[Dataset]) -> None:
        self._port, self._database, self._pixels = port, database, pixels
        self.acknowledged: dict[str, str] = {}
        self.studies: list[str] = []

    def send_study(self) -> None:
        """Send one study under new UIDs."""
        study, series, frame = generate_uid(), generate_uid(), generate_uid()
        waiting = [self._image(template, study, series, frame) for template in self._pixels]
        while waiting:
            waiting = list(self._send(waiting))
        self.studies.append(study)
        while True:
            try:
                request = Request(study, "benchmark", "", now())
                act(Action.COMPLETE, request, Config(), self._database)
                return
            except (UnknownStudy, NotPossible):
                return
            except sa.exc.OperationalError:
                time.sleep(0.2)

    def _image(self, template: Dataset, study: str, series: str, frame: str) -> Dataset:
        image = copy.deepcopy(template)
        image.StudyInstanceUID, image.SeriesInstanceUID, image.FrameOfReferenceUID = study, series, frame
        image.SOPInstanceUID = image.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        return image

    def _send(self, images: list[Dataset]) -> Iterator[Dataset]:
        """One association; yields what was not acknowledged."""
        entity = AE("MODALITY")
        entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = entity.connection_timeout = 10
        context = build_context(images[0].SOPClassUID, images[0].file_meta.TransferSyntaxUID)
        association = associate(entity, "127.0.0.1", self._port, contexts=[context], ae_title="DICOMNODE")
        if not association.is_established:
            time.sleep(0.3)
        for image in images:
            status = None
            if association.is_established:
                try:
                    status = association.send_c_store(image).get("Status")
                except RuntimeError:  # the association ended between our look and the request
                    status = None
            if status == 0x0000:
                self.acknowledged[image.SOPInstanceUID] = hashlib.sha256(image.PixelData).hexdigest()
            else:
                yield image
        if association.is_established:
            association.release()


class Trial:
    """A node, its senders and its destination; kills, waits and checks."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self._chance = chance
        self._destination = Destination(free_port())
        models = folder / "models"
        models.mkdir()
        (models / MODEL.name).symlink_to(MODEL)
        self._node = Node(
            folder,
            ("ARCHIVE", self._destination.port),
            quiet_seconds=3600.0,  # the modality says when a study is complete: a kill delays images by any time
            settings={
                "node": {"data_folder": str(folder / "data"), "models_folder": str(models)},
                "completeness": {"maximum_wait_seconds": 7200},
                "deliver": {"first_retry_seconds": 0.5, "maximum_retry_seconds": 2},
            },
        )
        self._data = folder / "data"
        self._database = Database(f"sqlite:///{self._data / 'node.sqlite'}")
        self._modality = Modality(self._node.dicom_port, self._database, abdomen_ct(slices=_IMAGES, size=64))
        self._began = time.monotonic()
        self.killed: Counter[str] = Counter()
        self.broken: list[str] = []
        self._found = self._delivered = self._duplicates = self._temporary = self._orphans = 0

    def start(self) -> None:
        """Start the destination and the node, and wait for it."""
        self._destination.start()
        self._node.__enter__()

    def stop(self) -> None:
        """Stop the node."""
        self._node.process.stop()
        self._database.close()

    def batch(self, rounds: int) -> None:
        """Send studies, kill ``rounds`` processes meanwhile, wait for the end of all studies, and check."""
        senders = [threading.Thread(target=self._send, args=(_STUDIES_A_BATCH // _SENDERS,)) for _ in range(_SENDERS)]
        for sender in senders:
            sender.start()
        for _ in range(rounds):
            time.sleep(self._chance.uniform(0.0, 2.0))
            self._kill()
        for sender in senders:
            sender.join()
        self._settle()
        self._check()

    def figures(self) -> dict[str, str | int | float | None]:
        """What was sent, found and delivered."""
        return {
            "rounds": self.killed.total(),
            "instances acknowledged": len(self._modality.acknowledged),
            "instances found": self._found,
            "studies eligible": len(self._modality.studies),
            "results delivered": self._delivered,
            "duplicates": self._duplicates,
            "temporary files left": self._temporary,
            "orphan rows and files": self._orphans,
            "objects sent more than once": sum(times > 1 for times in self._destination.times.values()),
            "seconds": time.monotonic() - self._began,
        }

    def _send(self, studies: int) -> None:
        for _ in range(studies):
            self._modality.send_study()

    def _kill(self) -> None:
        """Kill one process that lives; waits until one does."""
        while True:
            living = self._living()
            if self._interruptions() >= _MOST_INTERRUPTIONS:
                living.pop("worker", None)
                living.pop("supervisor", None)
            if living and (len(living) > 2 or "supervisor" not in living):
                break  # a supervisor whose children are still starting has been killed often enough
            time.sleep(0.1)
        name = self._chance.choice(sorted(living))
        os.kill(living[name], signal.SIGKILL)
        self.killed[name] += 1
        if name == "supervisor":
            self._node.process.stop(patience_seconds=0.0)
            self._node.process.start()

    def _living(self) -> dict[str, int]:
        supervisor = self._node.process.pid
        living = {"supervisor": supervisor}
        for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split():
            try:
                command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            living |= {name: int(child) for name in PROCESSES if name.encode() in command}
        return living

    def _interruptions(self) -> int:
        try:
            with self._database.reading() as session:
                return session.scalar(sa.select(sa.func.max(AnalysisRow.interrupted))) or 0
        except sa.exc.OperationalError:
            return 0

    def _settle(self) -> None:
        """Wait until every study has ended and every process answers, or for as long as is reasonable."""
        deadline = time.monotonic() + _SETTLE_SECONDS
        ended = (StudyState.DELIVERED, StudyState.FAILED, StudyState.NOT_APPLICABLE)
        while time.monotonic() < deadline:
            with self._database.reading() as session:
                states = set(session.scalars(sa.select(StudyRow.state).distinct()))
            if (
                states <= set(ended)
                and {"receiver", "worker", "web"} <= set(self._living())
                and answers(f"{self._node.url}/readyz")
            ):
                return
            time.sleep(0.2)
        self.broken.append(f"after {_SETTLE_SECONDS:.0f} s studies are still {', '.join(sorted(states))}")

    def _check(self) -> None:
        with self._database.reading() as session:
            paths = dict(session.execute(sa.select(InstanceRow.sop_instance_uid, InstanceRow.path)).tuples().all())
            rows = session.execute(sa.select(StudyRow.study_instance_uid, StudyRow.state, StudyRow.reason)).all()
            states = {study: state for study, state, _ in rows}
            reasons = {study: reason for study, _, reason in rows}
            made: dict[str, set[str]] = defaultdict(set)
            for study, result in session.execute(
                sa.select(AnalysisRow.study_instance_uid, ResultRow.sop_instance_uid).join(ResultRow)
            ):
                made[study].add(result)
            self._orphans = len(session.execute(sa.text("PRAGMA foreign_key_check")).all()) + _unfinished(session)
        self._check_instances(paths)
        self._check_results(states, made, reasons)
        self._check_files(set(paths.values()))

    def _check_instances(self, paths: dict[str, str]) -> None:
        self._found = 0
        for uid, digest in self._modality.acknowledged.items():
            path = self._data / "instances" / paths.get(uid, "-")
            try:
                held = hashlib.sha256(pydicom.dcmread(path).PixelData).hexdigest()
            except (OSError, pydicom.errors.InvalidDicomError, AttributeError):
                self.broken.append(f"acknowledged, and not to be read: {uid}")
                continue
            self._found += held == digest
            if held != digest:
                self.broken.append(f"acknowledged, and other pixels lie on disk: {uid}")

    def _check_results(self, states: dict[str, StudyState], made: dict[str, set[str]], reasons: dict[str, str]) -> None:
        self._delivered = self._duplicates = 0
        for study in self._modality.studies:
            received = self._destination.studies[study]
            reports = sum(modality == "SR" for modality in received.values())
            self._duplicates += max(0, reports - 1)
            whole = states.get(study) is StudyState.DELIVERED and set(received) == made[study] and reports == 1
            self._delivered += whole
            if not whole:
                self.broken.append(
                    f"{study} is {states.get(study)}, with {len(received)} objects delivered: {reasons.get(study)}"
                )

    def _check_files(self, indexed: set[str]) -> None:
        left = [path for path in (self._data / "incoming").rglob("*") if path.is_file()]
        left += [path for path in (self._data / "results").rglob("*.part") if path.is_file()]
        self._temporary = len(left)
        self.broken += [f"left behind: {path}" for path in left]
        stored = {str(path.relative_to(self._data / "instances")) for path in self._data.glob("instances/*/*/*.dcm")}
        self._orphans += len(stored ^ indexed)
        if self._orphans:
            self.broken.append(f"{self._orphans} orphan rows and files")


def _unfinished(session: sa.orm.Session) -> int:
    """Rows that nothing will ever touch again: series without instances, deliveries that are neither here nor there."""
    empty = sa.select(sa.func.count()).select_from(SeriesRow).where(~SeriesRow.instances.any())
    pending = sa.select(sa.func.count()).select_from(DeliveryRow).where(DeliveryRow.state != DeliveryState.DELIVERED)
    return (session.scalar(empty) or 0) + (session.scalar(pending) or 0)


if __name__ == "__main__":
    from benchmarks.command import main  # not above: it imports the benchmarks by name, this one among them

    sys.exit(main(["faults", *sys.argv[1:]]))
