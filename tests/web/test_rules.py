from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydicom import Dataset

from dicom_node.archive.archive import Archive
from dicom_node.archive.index import InstanceIndex
from dicom_node.archive.store import InstanceStore
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Association
from dicom_node.web.app import create_app

BUNDLE = Path(__file__).parents[2] / "models" / "lung_ct"


@pytest.fixture
def app(config: Config, database: Database) -> FastAPI:
    shutil.rmtree(config.node.models_folder / "lung_ct")
    shutil.copytree(BUNDLE, config.node.models_folder / "lung_ct", ignore=shutil.ignore_patterns("*.pt", "docs"))
    return create_app(config, database)


def _headers(datasets: list[Dataset]) -> str:
    headers = []
    for dataset in datasets:
        header = Dataset()
        for element in dataset:
            if element.keyword not in ("PixelData", ""):
                header.add(element)
        headers.append(header.to_json_dict())
    return json.dumps(headers)


def test_held_study_is_held_against_the_rules_as_they_are(
    client: TestClient, config: Config, database: Database, phantom_chest_ct: list[Dataset], tmp_path: Path
) -> None:
    store = InstanceStore(config.instances_folder, config.incoming_folder)
    archive = Archive(store, InstanceIndex(database))
    for dataset in phantom_chest_ct:
        path = config.incoming_folder / f"{dataset.SOPInstanceUID}.part"
        dataset.save_as(path, enforce_file_format=True)
        archive.accept(path, Association("CT", "NODE", "127.0.0.1"))
    uid = phantom_chest_ct[0].StudyInstanceUID

    [verdict] = client.get(f"/api/studies/{uid}/rules").json()
    page = client.get("/rules", params={"study": uid}).text

    assert verdict["images"] == len(phantom_chest_ct)
    assert verdict["reason"]
    assert verdict["reason"].replace("'", "&#39;")[:40] in page
    assert client.get("/api/studies/9.9/rules").status_code == 404


def test_header_pasted_in_stands_for_its_whole_series(client: TestClient, phantom_chest_ct: list[Dataset]) -> None:
    header = json.loads(_headers(phantom_chest_ct[:1]))[0]
    many = header | {"00201209": {"vr": "IS", "Value": [200]}}

    alone, whole = (client.post("/api/rules/test", content=json.dumps([each])).json() for each in (header, many))

    assert alone[0]["model"] is None
    assert "needs at least" in alone[0]["reason"]
    assert (whole[0]["model"], whole[0]["images"]) == ("lung_ct", 200)


def test_page_tells_why_a_radiograph_is_not_read(client: TestClient, phantom_radiograph: Dataset) -> None:
    token = client.headers.pop("X-CSRF-Token")

    page = client.post("/rules", data={"csrf_token": token, "headers": _headers([phantom_radiograph])})

    assert page.status_code == 200
    assert "Not read by lung_ct" in page.text
    assert phantom_radiograph.PatientID not in page.text.partition("<textarea")[0]


@pytest.mark.parametrize(
    "text", ["", "nonsense", "[]", "[1]", '{"00080060": 5}', '{"00080060": {"vr": "CS", "Value": 7}}']
)
def test_what_is_no_dicom_json_is_refused_in_a_sentence(client: TestClient, text: str) -> None:
    answer = client.post("/api/rules/test", content=text)

    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".")


def test_viewer_tests_no_rules(viewer: TestClient) -> None:
    assert viewer.get("/rules").status_code == 403
    assert viewer.post("/api/rules/test", content="[]").status_code == 403
    assert "/rules" not in viewer.get("/").text
