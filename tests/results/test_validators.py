"""Independent validators and readers find no fault with any kind of object."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import Dataset

from dicom_node.domain import Finding, ImagePlane, ImageStack, StudyState
from dicom_node.results.file import write_result
from dicom_node.results.notice import build_notice
from dicom_node.results.options import ResultOptions
from tests.peers.validators import errors_in, missing_validators
from tests.results import cases

Study = tuple[ImageStack, list[Dataset]]
EVERY_KIND = ("SR", "SC", "PR", "PM", "SEG")


def three_findings(stack: ImageStack, *probabilities: float) -> list[Finding]:
    return [cases.finding(stack, name, value) for name, value in zip(cases.LABELS, probabilities, strict=True)]


def synthetic() -> Iterator[tuple[str, list[Dataset]]]:
    stack, sources = cases.ct()
    yield (
        "ct_positive",
        cases.built(
            stack, sources, *three_findings(stack, 0.9, 0.1, 0.02), kinds=EVERY_KIND, predecessor_digest="c" * 64
        ),
    )
    yield "ct_negative", cases.built(stack, sources, *three_findings(stack, 0.1, 0.1, 0.02), kinds=("SR", "SC"))
    reason = "The series has 3 slices; the model needs 10."
    notice = build_notice(cases.analysis(sources), StudyState.NOT_APPLICABLE, reason, sources, ResultOptions())
    yield "notice", [made for _, made in notice]
    stack, sources = cases.radiograph(SpecificCharacterSet=["", "ISO 2022 IR 87"], PatientName="Yamada^Tarou=山田^太郎")
    yield "radiograph", cases.built(stack, sources, cases.finding(stack), kinds=("SC", "PR"))


def real(folder: Path) -> Iterator[tuple[str, list[Dataset]]]:
    for path in sorted((folder / "cxr").glob("*.dcm")):
        stack, sources = projection(path)
        kinds = ("SR", "SC", "PR") if path.name.startswith("gdcm") else ("SC", "PR")
        yield path.stem, cases.built(stack, sources, cases.finding(stack), kinds=kinds)
    for name in ("ct_chest", "ct_kidney"):
        stack, sources = series(sorted((folder / name).glob("*.dcm")))
        kinds = EVERY_KIND if name == "ct_kidney" else EVERY_KIND[1:]
        yield name, cases.built(stack, sources, cases.finding(stack), kinds=kinds)
    stack, sources = multi_frame(folder / "enhanced_ct" / "eCT_Supplemental.dcm")
    yield "enhanced_ct", cases.built(stack, sources, cases.finding(stack), kinds=EVERY_KIND)


def projection(path: Path) -> Study:
    source = pydicom.dcmread(path, stop_before_pixels=True)
    plane = ImagePlane(source.SOPInstanceUID, source.SOPClassUID, source.Rows, source.Columns)
    return ImageStack(np.full((1, plane.rows, plane.columns), 0.5, np.float32), (plane,)), [source]


def series(paths: list[Path]) -> Study:
    sources = [pydicom.dcmread(path, stop_before_pixels=True) for path in paths]
    sources.sort(key=lambda source: float(source.ImagePositionPatient[2]))
    planes = tuple(
        ImagePlane(
            source.SOPInstanceUID,
            source.SOPClassUID,
            source.Rows,
            source.Columns,
            None,
            tuple(source.ImagePositionPatient),
            tuple(source.ImageOrientationPatient),
            tuple(source.PixelSpacing),
        )
        for source in sources
    )
    return ImageStack(np.zeros((len(planes), 512, 512), np.float32), planes, hounsfield=True), sources


def multi_frame(path: Path) -> Study:
    source = pydicom.dcmread(path, stop_before_pixels=True)
    shared, frames = source.SharedFunctionalGroupsSequence[0], source.PerFrameFunctionalGroupsSequence
    planes = []
    for number, frame in enumerate(frames, 1):
        groups = Dataset()
        groups.update(shared)
        groups.update(frame)
        planes.append(
            ImagePlane(
                source.SOPInstanceUID,
                source.SOPClassUID,
                source.Rows,
                source.Columns,
                number,
                tuple(groups.PlanePositionSequence[0].ImagePositionPatient),
                tuple(groups.PlaneOrientationSequence[0].ImageOrientationPatient),
                tuple(groups.PixelMeasuresSequence[0].PixelSpacing),
            )
        )
    return ImageStack(np.zeros((len(planes), source.Rows, source.Columns), np.float32), tuple(planes), True), [source]


def found_by_validators(studies: Iterator[tuple[str, list[Dataset]]], folder: Path) -> list[str]:
    files = []
    for name, objects in studies:
        for made in objects:
            files.append(folder / f"{name}_{made.Modality}.dcm")
            write_result(made, files[-1])
    assert files
    # Two at a time: each PixelMed is a Java machine of its own.
    with ThreadPoolExecutor(2) as pool:
        faults = pool.map(errors_in, files)
    return [f"{file.name}: {fault}" for file, found in zip(files, faults, strict=True) for fault in found]


@pytest.fixture(autouse=True)
def validators(monkeypatch: pytest.MonkeyPatch) -> None:
    # PixelMed runs for seconds only: optimising its code takes longer than running it.
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
    if missing := missing_validators():
        pytest.skip(f"not installed: {', '.join(missing)}")


def test_objects_of_synthetic_studies_are_valid(tmp_path: Path) -> None:
    assert found_by_validators(synthetic(), tmp_path) == []


def test_objects_of_real_studies_are_valid(shared_dicom: Path, tmp_path: Path) -> None:
    assert found_by_validators(real(shared_dicom), tmp_path) == []


def test_a_generic_reader_shows_finding_probability_and_site_with_their_labels(tmp_path: Path) -> None:
    stack, sources = cases.ct()
    (made,) = cases.built(stack, sources, cases.finding(stack, probability=0.9312))
    write_result(made, tmp_path / "report.dcm")
    dsr2html = str(shutil.which("dsr2html"))
    page = subprocess.run([dsr2html, tmp_path / "report.dcm"], capture_output=True, text=True, check=True).stdout
    shown = " ".join(re.sub(r"<[^>]*>", " ", page).split())
    assert "Finding: Neoplasm of kidney" in shown
    assert "Kidney tumor: 93.12 %" in shown
    assert "Present, threshold: 40.0 %" in shown
    assert "Derivation = Probability" in shown
    assert "Presence: Present" in shown
    assert 'Algorithm Name = "kidney_ct"' in shown
    # dsr2html puts what is long, or has children, into an annex under the same label.
    assert "Tracking Identifier: Kidney tumor: present, probability 93 % (threshold 40 %, screening)" in shown
    assert re.search(r"Finding Site: Kidney structure .* Laterality = Right", shown)
