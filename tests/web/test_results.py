from __future__ import annotations

from io import BytesIO
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from dicom_node.config import Config
from dicom_node.domain import ResultKind
from dicom_node.results.structured_report import structured_report
from tests.results import cases
from tests.web.conftest import CAPTURE, REPORT, STUDY, Records, write_capture

RESULTS = f"/studies/{STUDY}/results"


@pytest.fixture(autouse=True)
def study_with_results(records: Records, config: Config) -> None:
    records.study()
    records.analysis()
    records.result()
    records.result(REPORT, "report.dcm", kind=ResultKind.STRUCTURED_REPORT)
    write_capture(config.results_folder / "capture.dcm")
    (config.results_folder / "report.dcm").write_bytes(b"not DICOM")


@pytest.mark.parametrize(("frame", "colour"), [(1, (255, 0, 0)), (2, (0, 255, 0))])
def test_frame_of_the_secondary_capture_is_rendered(
    client: TestClient, frame: int, colour: tuple[int, int, int]
) -> None:
    answer = client.get(f"{RESULTS}/{CAPTURE}.png", params={"frame": frame})

    assert answer.headers["content-type"] == "image/png"
    image = Image.open(BytesIO(answer.content))
    assert image.size == (4, 3)
    assert image.getpixel((2, 1)) == colour


def test_first_frame_is_shown_unless_asked_otherwise(client: TestClient) -> None:
    first = client.get(f"{RESULTS}/{CAPTURE}.png?frame=1").content

    assert client.get(f"{RESULTS}/{CAPTURE}.png").content == first


def test_frame_that_is_not_there_is_not_found(client: TestClient) -> None:
    answer = client.get(f"{RESULTS}/{CAPTURE}.png?frame=3")

    assert answer.status_code == 404
    assert "there is no frame 3" in answer.text


def test_object_that_is_no_picture_is_not_found_as_one(client: TestClient) -> None:
    assert client.get(f"{RESULTS}/{REPORT}.png").status_code == 404


def test_result_object_is_downloaded_as_it_is(client: TestClient, config: Config) -> None:
    answer = client.get(f"{RESULTS}/{CAPTURE}.dcm")

    assert answer.headers["content-type"] == "application/dicom"
    assert f'filename="{CAPTURE}.dcm"' in answer.headers["content-disposition"]
    assert answer.content == (config.results_folder / "capture.dcm").read_bytes()


@pytest.mark.parametrize("ending", ["dcm", "png"])
def test_unknown_result_and_result_of_another_study_are_not_found(
    client: TestClient, records: Records, ending: str
) -> None:
    records.study("9.9")

    assert client.get(f"{RESULTS}/2.25.777.{ending}").status_code == 404
    assert client.get(f"/studies/9.9/results/{CAPTURE}.{ending}").status_code == 404


@pytest.mark.parametrize("ending", ["dcm", "png"])
def test_file_that_is_gone_is_not_found(client: TestClient, config: Config, ending: str) -> None:
    (config.results_folder / "capture.dcm").unlink()

    answer = client.get(f"{RESULTS}/{CAPTURE}.{ending}")

    assert answer.status_code == 404
    assert "no longer in the results folder" in answer.text


@pytest.mark.parametrize("ending", ["dcm", "png"])
@pytest.mark.parametrize("absolute", [False, True])
def test_path_that_leads_out_of_the_results_folder_is_not_served(
    client: TestClient, records: Records, config: Config, tmp_path: Path, ending: str, absolute: bool
) -> None:
    secret = config.results_folder.parent / "secret.dcm"
    write_capture(secret)
    records.result("2.25.666", str(secret) if absolute else "../secret.dcm")

    assert client.get(f"{RESULTS}/2.25.666.{ending}").status_code == 404


def test_report_is_read_as_text(client: TestClient, config: Config) -> None:
    stack, sources = cases.ct()
    report = structured_report(cases.request(stack, sources, cases.finding(stack)))
    report.save_as(config.results_folder / "report.dcm", enforce_file_format=True)

    page = client.get(f"{RESULTS}/{REPORT}")

    assert page.status_code == 200
    for text in ("Imaging Measurement Report", "Algorithm Name", "93", "Not verified"):
        assert text in page.text
    assert client.get(f"{RESULTS}/{CAPTURE}").status_code == 404


def test_report_that_is_broken_is_not_found_in_a_sentence(client: TestClient) -> None:
    answer = client.get(f"{RESULTS}/{REPORT}")

    assert answer.status_code == 404
    assert "cannot be read" in answer.text
