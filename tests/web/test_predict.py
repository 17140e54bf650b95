"""POST /api/predict, with a small real bundle."""

from __future__ import annotations

import base64
import tempfile
import threading
from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image
from pydicom.dataset import Dataset

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Role
from dicom_node.inference.models import Models
from dicom_node.web.app import create_app
from dicom_node.web.prediction import Predictor
from tests.web.conftest import MODEL, log_in


def _png(size: int = 32, seed: int = 1) -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size, size), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _dicom(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _post(client: TestClient, content: bytes, **fields: str) -> Response:
    answer: Response = client.post("/api/predict", files={"image": ("image", content)}, data=fields)
    return answer


def _problem(answer: Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = answer.json()
    return problem


def test_an_image_gets_probabilities_and_decisions(predicting: TestClient) -> None:
    answer = _post(predicting, _png(), model=MODEL)

    assert answer.status_code == 200
    prediction = answer.json()
    assert prediction["model"] == MODEL
    assert sum(prediction["probabilities"].values()) == pytest.approx(1)
    [finding] = prediction["findings"]
    assert finding["decision"] == ("present" if finding["probability"] >= finding["threshold"] else "absent")
    assert finding["heat_map"] is None


def test_png_and_jpeg_and_dicom_are_read(predicting: TestClient, phantom_chest_ct: list[Dataset]) -> None:
    jpeg = BytesIO()
    Image.open(BytesIO(_png())).save(jpeg, "JPEG")

    for content in (_png(), jpeg.getvalue(), _dicom(phantom_chest_ct[0])):
        assert _post(predicting, content, model=MODEL).status_code == 200


def test_a_heat_map_lies_on_the_pixels_of_the_image_and_changes_no_answer(predicting: TestClient) -> None:
    shown = []
    for seed in range(8):  # the network is random: it sees nothing on some of the images
        content = _png(48, seed)
        plain, explained = (_post(predicting, content, model=MODEL, heat_map=asked).json() for asked in ("", "true"))
        assert explained["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-5)
        shown += [finding["heat_map"] for finding in explained["findings"] if finding["heat_map"]]

    assert shown
    assert {Image.open(BytesIO(base64.b64decode(heat_map))).size for heat_map in shown} == {(48, 48)}


def test_what_is_no_image_is_an_unsupported_media_type(predicting: TestClient) -> None:
    answer = _post(predicting, b"%PDF-1.7 report", model=MODEL)

    assert answer.status_code == 415
    assert "PNG" in _problem(answer)["detail"]


def test_a_request_without_a_form_is_an_unsupported_media_type(predicting: TestClient) -> None:
    assert predicting.post("/api/predict", content=_png()).status_code == 415


@pytest.mark.parametrize("content", [_png()[:200], b"\0" * 128 + b"DICM" + b"\xff" * 64])
def test_a_broken_image_is_refused_in_words(predicting: TestClient, content: bytes) -> None:
    answer = _post(predicting, content, model=MODEL)

    assert answer.status_code == 422
    detail = _problem(answer)["detail"]
    assert "Traceback" not in detail
    assert "/proc" not in detail


def test_a_form_without_the_image_says_which_part_is_missing(predicting: TestClient) -> None:
    answer = predicting.post("/api/predict", files={"picture": ("x", _png())})

    assert answer.status_code == 422
    assert "image" in _problem(answer)["detail"]


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(predicting: TestClient) -> None:
    answer = _post(predicting, _png(), model="nobody")

    assert answer.status_code == 404
    assert MODEL in _problem(answer)["detail"]


def test_the_dicom_header_chooses_the_model(predicting: TestClient, phantom_chest_ct: list[Dataset]) -> None:
    assert _post(predicting, _dicom(phantom_chest_ct[0])).json()["model"] == MODEL


def test_a_dicom_file_that_no_model_reads_says_why(predicting: TestClient, phantom_radiograph: Dataset) -> None:
    answer = _post(predicting, _dicom(phantom_radiograph))

    assert answer.status_code == 422
    assert MODEL in _problem(answer)["detail"]


def test_an_upload_above_the_limit_is_refused(config: Config, database: Database, tiny_models: Models) -> None:
    limited = config.model_copy(update={"web": config.web.model_copy(update={"maximum_request_megabytes": 1})})
    client = log_in(create_app(limited, database, tiny_models), Role.OPERATOR)

    assert _post(client, _png() + bytes(1 << 20), model=MODEL).status_code == 413


def test_an_upload_never_reaches_the_disk(predicting: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(*arguments: object, **options: object) -> None:
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_file)
    monkeypatch.setattr(tempfile, "_TemporaryFileWrapper", no_file)

    assert _post(predicting, _png(1500), model=MODEL).status_code == 200


def test_requests_beyond_the_queue_are_sent_away_for_a_moment(
    config: Config, database: Database, tiny_models: Models, monkeypatch: pytest.MonkeyPatch
) -> None:
    app: FastAPI = create_app(config, database, tiny_models)
    app.state.predictor = Predictor(tiny_models, maximum_waiting=1)
    client = log_in(app, Role.OPERATOR)
    reading, go_on = threading.Event(), threading.Event()

    def wait(*_: object) -> dict[str, float]:
        reading.set()
        assert go_on.wait(20)
        return dict.fromkeys(tiny_models.manifests[MODEL].classes, 0.5)

    monkeypatch.setattr(tiny_models.reader(MODEL), "class_probabilities", wait)
    with client:
        first = threading.Thread(target=_post, args=(client, _png()), kwargs={"model": MODEL})
        first.start()
        assert reading.wait(20)
        answer = _post(client, _png(), model=MODEL)
        go_on.set()
        first.join()

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1


def test_nobody_predicts_without_a_key(config: Config, database: Database, tiny_models: Models) -> None:
    nobody = TestClient(create_app(config, database, tiny_models))

    assert _post(nobody, _png(), model=MODEL).status_code == 401


def test_a_node_without_predictions_has_no_such_address(client: TestClient) -> None:
    assert _post(client, _png(), model=MODEL).status_code == 404


def test_the_route_and_its_form_are_documented(predicting: TestClient) -> None:
    body = predicting.get("/api/openapi.json").json()["paths"]["/api/predict"]["post"]["requestBody"]

    assert set(body["content"]["multipart/form-data"]["schema"]["properties"]) == {"image", "model", "heat_map"}
