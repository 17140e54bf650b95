from __future__ import annotations

import shutil

import pytest
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.tables import Base
from dicom_node.web import create_app


def test_process_is_alive_even_without_a_database(client: TestClient, database: Database) -> None:
    Base.metadata.drop_all(database.engine)

    assert client.get("/healthz").json() == {"status": "alive"}


def test_node_is_ready(client: TestClient) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {"status": "ready", "problems": []}


def test_missing_tables_are_a_reason_not_to_be_ready(client: TestClient, database: Database) -> None:
    Base.metadata.drop_all(database.engine)

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "tables are missing" in answer.json()["problems"][0]


def test_missing_data_folder_is_a_reason_not_to_be_ready(config: Config, database: Database) -> None:
    gone = config.node.model_copy(update={"data_folder": config.node.data_folder / "gone"})
    client = TestClient(create_app(config.model_copy(update={"node": gone}), database))

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "cannot be written" in answer.json()["problems"][0]


def test_full_disk_is_a_reason_not_to_be_ready(
    client: TestClient, config: Config, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1 << 40, 1 << 40, 5 << 20))
    limited = config.receive.model_copy(update={"minimum_free_megabytes": 6})
    client = TestClient(create_app(config.model_copy(update={"receive": limited}), database))

    answer = client.get("/readyz")

    assert answer.status_code == 503
    assert "has 5 MB free" in answer.json()["problems"][0]
