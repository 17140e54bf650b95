"""The command line: what a person types, and what it says when something is wrong."""

from __future__ import annotations

import copy
import csv
from pathlib import Path

import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from typer.testing import CliRunner, Result

from dicom_node.cli import app
from tests.storage_scp import ProgrammableStorage

MODELS = Path(__file__).parents[1] / "models"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Runs the command in an empty folder with the project's models."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DICOM_NODE_NODE__MODELS_FOLDER", str(MODELS))
    monkeypatch.setenv("DICOM_NODE_RECEIVE__MINIMUM_FREE_MEGABYTES", "0")

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return invoke


def _write(folder: Path, datasets: list[Dataset]) -> Path:
    folder.mkdir()
    for number, dataset in enumerate(datasets):
        pydicom.dcmwrite(folder / f"{number}.dcm", dataset, enforce_file_format=True)
    return folder


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_echo_names_a_peer_that_does_not_answer(run, free_port: int) -> None:
    result = run("echo", f"ARCHIVE@127.0.0.1:{free_port}")

    assert result.exit_code == 1
    assert "cannot be reached" in result.output


def test_echo_of_a_peer_that_answers(run, storage_scp: ProgrammableStorage) -> None:
    assert run("echo", f"ARCHIVE@127.0.0.1:{storage_scp.port}").exit_code == 0


@pytest.mark.parametrize("address", ["ARCHIVE", "ARCHIVE@host", "@host:104", "ARCHIVE@host:99999"])
def test_a_peer_is_named_as_title_host_and_port(run, address: str) -> None:
    result = run("echo", address)

    assert result.exit_code == 2
    assert "AET@HOST:PORT" in result.output


def test_send_sends_a_folder_and_names_what_is_not_dicom(
    run, storage_scp: ProgrammableStorage, tmp_path: Path, phantom_chest_ct: list[Dataset]
) -> None:
    folder = _write(tmp_path / "study", phantom_chest_ct[:3])
    (folder / "note.txt").write_text("hello")

    result = run("send", folder, "--to", f"ARCHIVE@127.0.0.1:{storage_scp.port}")

    assert result.exit_code == 1
    # The console wraps long paths anywhere.
    assert "note.txt:notaDICOMfile,leftout" in "".join(result.output.split())
    assert "3 of 4 files sent" in result.output
    assert len(storage_scp.received) == 3


def test_a_wrong_configuration_is_explained_without_a_stack_trace(run, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("receive: {prot: 104}")

    result = run("receiver", "--config", tmp_path / "bad.yaml")

    assert result.exit_code == 1
    assert "receive.prot: unknown key" in result.output
    assert "Traceback" not in result.output


def test_check_passes_on_the_embedded_defaults(run) -> None:
    result = run("check")

    assert result.exit_code == 0, result.output
    for subject in ("store", "database", "model chest_xray", "model kidney_ct", "model lung_ct"):
        assert subject in result.output


def test_check_names_a_destination_that_is_down(run, tmp_path: Path, free_port: int) -> None:
    (tmp_path / "node.yaml").write_text(
        f"peers: [{{name: pacs, ae_title: PACS, host: 127.0.0.1, port: {free_port}, receives_results: true}}]"
    )

    result = run("check", "--config", tmp_path / "node.yaml")

    assert result.exit_code == 1
    assert "peer pacs" in result.output
    assert "cannot be reached" in result.output


def test_analyze_writes_a_report_and_a_capture(run, tmp_path: Path, phantom_abdomen_ct: list[Dataset]) -> None:
    folder = _write(tmp_path / "study", phantom_abdomen_ct)

    result = run("analyze", folder, "--out", tmp_path / "out", "--model", "kidney_ct")

    assert result.exit_code == 0, result.output
    made = [pydicom.dcmread(path) for path in (tmp_path / "out").rglob("*.dcm")]
    assert sorted(dataset.Modality for dataset in made) == ["OT", "SR"]
    assert {dataset.StudyInstanceUID for dataset in made} == {phantom_abdomen_ct[0].StudyInstanceUID}


def test_analyze_says_why_a_study_is_not_read(run, tmp_path: Path, phantom_abdomen_ct: list[Dataset]) -> None:
    folder = _write(tmp_path / "study", phantom_abdomen_ct)

    result = run("analyze", folder, "--out", tmp_path / "out", "--model", "chest_xray")

    assert result.exit_code == 1
    assert "Not read by chest_xray" in result.output


def test_predict_writes_a_row_a_file_and_the_reason_of_a_refusal(
    run, tmp_path: Path, phantom_radiograph: Dataset
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.effect_noise((96, 96), 64).save(folder / "a.png")
    (folder / "b.jpg").write_bytes(b"\xff\xd8 not a whole JPEG")
    pydicom.dcmwrite(folder / "c.dcm", phantom_radiograph, enforce_file_format=True)

    result = run("predict", "--model", "chest_xray", folder, "--csv", tmp_path / "table.csv")

    assert result.exit_code == 0, result.output
    image, broken, dicom = _table(tmp_path / "table.csv")
    assert list(image) == ["file", "normal", "pneumonia", "refused"]
    for row in (image, dicom):
        if not row["refused"]:
            assert float(row["normal"]) + float(row["pneumonia"]) == pytest.approx(1, abs=1e-5)
    assert not dicom["refused"]
    assert (broken["normal"], broken["pneumonia"]) == ("", "")
    assert "b.jpg" in broken["refused"]


def test_a_radiograph_and_its_monochrome1_twin_have_the_same_probability(
    run, tmp_path: Path, phantom_radiograph: Dataset
) -> None:
    folder = tmp_path / "twins"
    folder.mkdir()
    bright, dark = phantom_radiograph, copy.deepcopy(phantom_radiograph)
    assert bright.PhotometricInterpretation == "MONOCHROME2"
    top = (1 << bright.BitsStored) - 1
    dark.PhotometricInterpretation, dark.PresentationLUTShape = "MONOCHROME1", "INVERSE"
    dark.PixelData = (top - bright.pixel_array).astype("<u2").tobytes()
    dark.WindowCenter = top - bright.WindowCenter + 1  # the mirror of a linear window (PS3.3 C.11.2.1.2)
    pydicom.dcmwrite(folder / "1.dcm", bright, enforce_file_format=True)
    pydicom.dcmwrite(folder / "2.dcm", dark, enforce_file_format=True)

    assert run("predict", "--model", "chest_xray", folder, "--csv", tmp_path / "table.csv").exit_code == 0

    first, second = _table(tmp_path / "table.csv")
    assert float(first["pneumonia"]) == pytest.approx(float(second["pneumonia"]), abs=1e-6)


def test_predict_names_the_models_there_are(run, tmp_path: Path) -> None:
    Image.effect_noise((32, 32), 64).save(tmp_path / "a.png")

    result = run("predict", "--model", "hand_xray", tmp_path / "a.png", "--csv", tmp_path / "table.csv")

    assert result.exit_code == 1
    assert "chest_xray" in result.output
    assert not (tmp_path / "table.csv").exists()
