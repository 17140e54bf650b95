from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import sqlalchemy as sa
import uvicorn
from argon2 import PasswordHasher
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MultiFrameTrueColorSecondaryCaptureImageStorage

from dicom_node.access import passwords
from dicom_node.access.sessions import csrf_token
from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import DeliveryState, Evaluation, ResultKind, Role, StudyState
from dicom_node.receive.refusal import Reason
from dicom_node.tables import (
    AnalysisRow,
    Base,
    DecisionRow,
    DeliveryRow,
    EventRow,
    FindingRow,
    InstanceRow,
    RefusalRow,
    ResultRow,
    SeriesRow,
    StudyRow,
    UserRow,
)
from dicom_node.web import create_app
from dicom_node.web.server import Server

if TYPE_CHECKING:
    from playwright.sync_api import Browser

    from dicom_node.inference.models import Models

STUDY = "1.2.3"
SERIES = "1.2.3.1"
ANALYSIS = "analysis-1"
CAPTURE = "2.25.1"
REPORT = "2.25.2"
MODEL = "tiny"
CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@dataclass
class Records:
    """Writes rows as the stages before the web would; every value has a default that a test can replace."""

    database: Database
    at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def add(self, row: Base) -> None:
        with self.database.session.begin() as session:
            session.add(row)

    def study(self, uid: str = STUDY, age: timedelta = timedelta(minutes=2), **values: Any) -> str:
        at = self.at - age
        defaults = {
            "state": StudyState.DELIVERED,
            "patient_name": "Doe^Jane",
            "patient_id": "PID-7",
            "accession_number": "A100",
            "study_date": "20240131",
            "study_description": "CT chest",
            "calling_ae_title": "PACS",
            "first_received_at": at,
            "last_received_at": at,
            "state_changed_at": at,
        }
        self.add(StudyRow(study_instance_uid=uid, **(defaults | values)))
        return uid

    def series(self, uid: str = SERIES, study: str = STUDY, instances: int = 2, **values: Any) -> str:
        defaults = {"modality": "CT", "series_number": 2, "series_description": "Lung 2 mm"}
        self.add(SeriesRow(series_instance_uid=uid, study_instance_uid=study, **(defaults | values)))
        for number in range(instances):
            self.add(
                InstanceRow(
                    sop_instance_uid=f"{uid}.{number}",
                    series_instance_uid=uid,
                    study_instance_uid=study,
                    sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                    transfer_syntax_uid=ExplicitVRLittleEndian,
                    analysable=True,
                    path=f"{uid}.{number}.dcm",
                    size_bytes=1,
                    received_at=self.at,
                )
            )
        return uid

    def analysis(self, identity: str = ANALYSIS, study: str = STUDY, **values: Any) -> str:
        defaults = {
            "input_digest": "d" * 64,
            "last_instance_id": 1,
            "last_image_at": self.at - timedelta(seconds=60),
            "state": StudyState.DELIVERED,
            "created_at": self.at - timedelta(seconds=50),
            "finished_at": self.at - timedelta(seconds=46),
        }
        self.add(AnalysisRow(analysis_id=identity, study_instance_uid=study, **(defaults | values)))
        with self.database.session.begin() as session:
            session.execute(
                sa.update(StudyRow).where(StudyRow.study_instance_uid == study).values(latest_analysis_id=identity)
            )
        return identity

    def decision(self, reason: str, model: str | None = None, series: str = SERIES, analysis: str = ANALYSIS) -> None:
        self.add(DecisionRow(analysis_id=analysis, series_instance_uid=series, model=model, reason=reason))

    def finding(self, analysis: str = ANALYSIS, **values: Any) -> None:
        defaults = {
            "series_instance_uid": SERIES,
            "model": "lung_ct",
            "model_version": "1.0.0",
            "weights_digest": "a" * 64,
            "stack_number": 1,
            "number": 1,
            "name": "tumour",
            "label": "Lung tumour",
            "probability": 0.873,
            "operating_point": "high_recall",
            "threshold": 0.35,
            "evaluation": Evaluation.PRESENT,
            "key_sop_instance_uid": f"{SERIES}.1",
            "image_probabilities": [0.1, 0.9, 0.4],
            "class_probabilities": {"tumour": 0.873, "normal": 0.127},
            "device": "cpu",
            "seconds": 3.2,
        }
        self.add(FindingRow(analysis_id=analysis, **(defaults | values)))

    def result(self, uid: str = CAPTURE, path: str = "capture.dcm", analysis: str = ANALYSIS, **values: Any) -> str:
        defaults = {
            "sop_class_uid": MultiFrameTrueColorSecondaryCaptureImageStorage,
            "series_instance_uid": SERIES,
            "model": "lung_ct",
            "kind": ResultKind.SECONDARY_CAPTURE,
        }
        self.add(ResultRow(sop_instance_uid=uid, analysis_id=analysis, path=path, **(defaults | values)))
        return uid

    def delivery(self, result: str = CAPTURE, analysis: str = ANALYSIS, **values: Any) -> None:
        defaults = {
            "destination": "archive",
            "state": DeliveryState.DELIVERED,
            "attempts": 1,
            "status": 0,
            "last_attempt_at": self.at,
        }
        self.add(DeliveryRow(sop_instance_uid=result, analysis_id=analysis, **(defaults | values)))

    def event(self, text: str, study: str = STUDY, age: timedelta = timedelta()) -> None:
        self.add(EventRow(study_instance_uid=study, at=self.at - age, text=text))

    def refusal(self, text: str, reason: Reason = Reason.DAMAGED, age: timedelta = timedelta(), **values: Any) -> None:
        defaults = {"calling_ae_title": "STRANGER", "address": "10.0.0.9"}
        row = RefusalRow(at=self.at - age, status=reason.status, code=reason.value, reason=text, **(defaults | values))
        self.add(row)

    def whole_study(self) -> str:
        """One delivered study with a row in every table."""
        uid = self.study()
        self.series()
        self.analysis()
        self.decision("The best axial series of 2 that fit.", model="lung_ct")
        self.finding()
        self.result()
        self.delivery()
        self.event("First instance received from PACS.")
        return uid


def write_capture(path: Path, frames: int = 2) -> None:
    """An RGB secondary capture, 4 columns by 3 rows, whose frames are red, green, blue in turn."""
    pixels = np.zeros((frames, 3, 4, 3), np.uint8)
    for frame in range(frames):
        pixels[frame, ..., frame % 3] = 255
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
    dataset.SOPInstanceUID = CAPTURE
    dataset.NumberOfFrames = frames
    dataset.Rows, dataset.Columns = 3, 4
    dataset.SamplesPerPixel, dataset.PlanarConfiguration = 3, 0
    dataset.PhotometricInterpretation = "RGB"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    data = tmp_path / "data"
    data.mkdir()
    (tmp_path / "models" / "lung_ct" / "configs").mkdir(parents=True)
    (tmp_path / "models" / "lung_ct" / "configs" / "node.yaml").touch()
    return Config(
        node={"ae_title": "NODE", "data_folder": data, "models_folder": tmp_path / "models"},
        receive={"minimum_free_megabytes": 0, "maximum_disk_percent": 100},
        peers=[{"name": "archive", "ae_title": "ARCHIVE", "host": "pacs", "port": 104, "receives_results": True}],
    )


@pytest.fixture
def database(config: Config) -> Iterator[Database]:
    opened = Database(config.database_url)
    opened.create_tables()
    yield opened
    opened.close()


@pytest.fixture
def records(database: Database) -> Records:
    return Records(database)


@pytest.fixture
def app(config: Config, database: Database) -> FastAPI:
    return create_app(config, database)


def log_in(app: FastAPI, role: Role, client: TestClient | None = None) -> TestClient:
    """A browser with an open session of a user with this role, who also sends the token that forms carry."""
    database: Database = app.state.database
    row = UserRow(name=role.value, role=role, password_hash="", created_at=now())
    with database.session.begin() as session:
        session.add(row)
    client = client or TestClient(app, raise_server_exceptions=False)
    token = app.state.sessions.open(row.id, now())
    client.cookies.set("dicom-node-0", token)
    client.headers["X-CSRF-Token"] = csrf_token(token)
    return client


@pytest.fixture
def anonymous(app: FastAPI) -> TestClient:
    """Nobody that the node knows."""
    return TestClient(app, raise_server_exceptions=False, follow_redirects=False)


@pytest.fixture
def viewer(app: FastAPI) -> TestClient:
    """A user who may see no patient."""
    return log_in(app, Role.VIEWER)


@pytest.fixture
def client(app: FastAPI) -> TestClient:
    """An operator."""
    return log_in(app, Role.OPERATOR)


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> Models:
    """A small real model, loaded; with its libraries, which most tests need not wait for."""
    from dicom_node.inference.models import Models
    from tests.inference.bundles import TORCH, write_bundle

    folder = tmp_path_factory.mktemp("models")
    write_bundle(folder / MODEL)
    models = Models(folder, TORCH)
    models.load()
    return models


@pytest.fixture
def predicting(config: Config, database: Database, tiny_models: Models) -> TestClient:
    """An operator of a node that reads single images."""
    return log_in(create_app(config, database, tiny_models), Role.OPERATOR)


@pytest.fixture(autouse=True)
def receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    """The receiver is another process, which these tests do not start."""
    monkeypatch.setattr("dicom_node.web.standing.receiver_answers", lambda _config: True)


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Argon2 at its least cost: the tests are not about its strength."""
    monkeypatch.setattr(passwords, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


@pytest.fixture
def server(app: FastAPI, free_port: int) -> Iterator[uvicorn.Server]:
    settings = uvicorn.Config(app, port=free_port, log_level="warning", lifespan="off")
    running = Server(settings, app.state.changes)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield running
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()
