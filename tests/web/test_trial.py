"""Trying a model in the browser: read in memory, shown, and kept only where that is asked for."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient
from httpx import Response
from PIL import Image
from pydicom import Dataset

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Role
from dicom_node.inference.models import Models
from dicom_node.tables import InstanceRow, StudyRow
from dicom_node.web.app import create_app
from tests.web.conftest import MODEL, log_in


def _dicom(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _png() -> bytes:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 60), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _try(client: TestClient, *contents: bytes, **fields: str) -> Response:
    files: list[Any] = [("files", (f"study/{number}", content)) for number, content in enumerate(contents)]
    answer: Response = client.post("/try", files=files, data=fields)
    return answer


def test_a_study_is_read_by_the_model_that_the_rules_choose_and_nothing_is_kept(
    predicting: TestClient, config: Config, database: Database, phantom_abdomen_ct: list[Dataset]
) -> None:
    answer = _try(predicting, *map(_dicom, phantom_abdomen_ct), b"a note that lies in the folder")

    assert answer.status_code == 200
    assert "16 images, read by tiny 1.2.3" in answer.text
    assert answer.text.count("data:image/png;base64") == 2  # the key slice, without and with its heat map
    assert "Doe" not in answer.text
    with database.reading() as session:
        assert session.scalars(sa.select(StudyRow)).all() == []
    assert not config.instances_folder.exists()


def test_a_plain_image_needs_a_model_to_be_chosen(predicting: TestClient) -> None:
    assert "choose one" in _try(predicting, _png()).text
    assert "1 image, read by tiny" in _try(predicting, _png(), model=MODEL).text


def test_what_no_model_reads_is_said_with_the_reason(predicting: TestClient, phantom_radiograph: Dataset) -> None:
    text = _try(predicting, _dicom(phantom_radiograph)).text

    assert "Not read" in text
    assert "Digital X-Ray" in text


@pytest.mark.parametrize(
    ("contents", "fields", "said"),
    [
        ([], {}, "Choose a DICOM file"),
        ([b"text"], {}, "Choose a DICOM file"),
        ([_png(), _png()], {"model": MODEL}, "one at a time"),
        ([_png()[:60]], {"model": MODEL}, "cannot be read"),
        ([_png()], {"model": "unheard_of"}, "No model named unheard_of"),
    ],
)
def test_what_cannot_be_tried_is_refused_in_words(
    predicting: TestClient, contents: list[bytes], fields: dict[str, str], said: str
) -> None:
    answer = predicting.post("/try", files=[("files", ("", b""))], data=fields) if not contents else None
    answer = answer or _try(predicting, *contents, **fields)

    assert said in answer.text


def test_files_of_two_studies_are_refused(
    predicting: TestClient, phantom_abdomen_ct: list[Dataset], phantom_chest_ct: list[Dataset]
) -> None:
    assert "more than one study" in _try(predicting, _dicom(phantom_abdomen_ct[0]), _dicom(phantom_chest_ct[0])).text


def test_what_is_to_be_kept_goes_the_way_of_a_received_study(
    predicting: TestClient, database: Database, phantom_abdomen_ct: list[Dataset]
) -> None:
    answer = _try(predicting, *map(_dicom, phantom_abdomen_ct), keep="yes")

    assert "16 objects were taken in" in answer.text
    with database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(InstanceRow)) == 16
        assert session.scalars(sa.select(StudyRow.study_instance_uid)).one() in answer.text


def test_viewers_try_nothing(config: Config, database: Database, tiny_models: Models) -> None:
    viewer = log_in(create_app(config, database, tiny_models), Role.VIEWER)

    assert viewer.get("/try").status_code == 403
    assert _try(viewer, _png(), model=MODEL).status_code == 403
