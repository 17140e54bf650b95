from __future__ import annotations

import copy
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom import Dataset

from dicom_node.config import Config
from dicom_node.web.pictures import render_instance
from dicom_node.web.result_objects import NotAPicture
from tests.web.conftest import SERIES, STUDY, Records


@pytest.fixture
def radiograph(tmp_path: Path, phantom_radiograph: Dataset) -> Path:
    path = tmp_path / "radiograph.dcm"
    phantom_radiograph.save_as(path, enforce_file_format=True)
    return path


def test_picture_is_as_displayed_and_no_larger_than_asked(radiograph: Path) -> None:
    picture = Image.open(BytesIO(render_instance(radiograph, 1, 128)))

    assert picture.size == (128, 128)
    assert np.ptp(np.asarray(picture)) > 100


def test_inverted_image_is_shown_inverted(tmp_path: Path, radiograph: Path, phantom_radiograph: Dataset) -> None:
    inverted = copy.deepcopy(phantom_radiograph)
    names = {"MONOCHROME1": "MONOCHROME2", "MONOCHROME2": "MONOCHROME1"}
    inverted.PhotometricInterpretation = names[inverted.PhotometricInterpretation]
    inverted.save_as(tmp_path / "inverted.dcm", enforce_file_format=True)

    one = np.asarray(Image.open(BytesIO(render_instance(radiograph, 1, 64)))).astype(int)
    other = np.asarray(Image.open(BytesIO(render_instance(tmp_path / "inverted.dcm", 1, 64)))).astype(int)

    assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < -0.9


@pytest.mark.parametrize("frame", [0, 2])
def test_frame_that_is_not_there_is_refused(radiograph: Path, frame: int) -> None:
    with pytest.raises(NotAPicture, match="no frame"):
        render_instance(radiograph, frame, 64)


def test_file_without_an_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.dcm"
    path.write_bytes(b"no DICOM at all")

    with pytest.raises(NotAPicture):
        render_instance(path, 1, 64)


def test_series_and_images_are_shown_to_operators_only(
    client: TestClient, config: Config, records: Records, radiograph: Path
) -> None:
    records.whole_study()
    config.instances_folder.mkdir(parents=True)
    (config.instances_folder / f"{SERIES}.1.dcm").write_bytes(radiograph.read_bytes())

    series = client.get(f"/studies/{STUDY}/series/{SERIES}.png")
    image = client.get(f"/studies/{STUDY}/instances/{SERIES}.1.png")

    assert series.headers["content-type"] == image.headers["content-type"] == "image/png"
    assert client.get(f"/studies/{STUDY}/instances/{SERIES}.0.png").status_code == 404
    assert client.get(f"/studies/9.9/instances/{SERIES}.1.png").status_code == 404


def test_viewer_sees_no_image(viewer: TestClient, records: Records) -> None:
    records.whole_study()

    assert viewer.get(f"/studies/{STUDY}/series/{SERIES}.png").status_code == 403
    assert viewer.get(f"/studies/{STUDY}/instances/{SERIES}.1.png").status_code == 403
    assert ".png" not in viewer.get(f"/studies/{STUDY}").text
