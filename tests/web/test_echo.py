from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.tables import CommitmentRequestRow
from dicom_node.web.app import create_app
from tests.storage_scp import ProgrammableStorage
from tests.web.conftest import Records


@pytest.fixture
def app(config: Config, database: Database, storage_scp: ProgrammableStorage) -> FastAPI:
    peer = config.peers[0].model_copy(update={"host": "127.0.0.1", "port": storage_scp.port})
    return create_app(config.model_copy(update={"peers": (peer,)}), database)


def test_peer_that_answers_and_one_that_does_not_are_told_apart(
    client: TestClient, storage_scp: ProgrammableStorage
) -> None:
    there = client.post("/api/peers/archive/echo").json()
    storage_scp.stop()
    gone = client.post("/api/peers/archive/echo").json()

    assert there["problem"] is None
    assert "cannot be reached" in gone["problem"]
    assert client.post("/api/peers/nobody/echo").status_code == 404


def test_page_says_what_the_peer_answered(client: TestClient) -> None:
    token = client.headers.pop("X-CSRF-Token")

    page = client.post("/peers/echo", data={"csrf_token": token, "peer": "archive"})

    assert "<b>archive</b> answers" in page.text


def test_viewer_tests_no_peer(app: FastAPI, viewer: TestClient) -> None:
    assert viewer.post("/api/peers/archive/echo").status_code == 403
    assert "/peers/echo" not in viewer.get("/peers").text


def test_requests_for_storage_commitment_are_listed(client: TestClient, records: Records) -> None:
    for number in range(3):
        records.add(
            CommitmentRequestRow(
                calling_ae_title="MODALITY",
                transaction_uid=f"1.{number}",
                instances=[["1.2", "1.3"]],
                received_at=now(),
                closed_at=now() if number else None,
                outcome="1 of 1 instances are held" if number else "",
            )
        )

    page = client.get("/api/commitment-requests?limit=2").json()
    rest = client.get("/api/commitment-requests", params={"before": page["next"]}).json()

    assert [asked["transaction_uid"] for asked in page["requests"]] == ["1.2", "1.1"]
    assert [asked["closed_at"] for asked in rest["requests"]] == [None]
    text = client.get("/peers").text
    assert "1 of 1 instances are held" in text
    assert "not answered yet" in text
