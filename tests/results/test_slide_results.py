from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from dicom_node.analysis import SeriesOutcome, read_series
from dicom_node.domain import AnalysisIdentity, Instance, ResultKind
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.reader import ModelReader
from dicom_node.results.file import write_result
from dicom_node.results.options import ResultOptions
from tests.imaging.slides import FRAME_OF_REFERENCE, ORIGIN_MM, picture, write_slide
from tests.inference.bundles import TORCH
from tests.inference.slide_bundle import write_slide_bundle
from tests.peers.validators import errors_in, missing_validators
from tests.results import cases
from tests.results.test_structured_report import parsed


@dataclass(frozen=True)
class Results:
    outcome: SeriesOutcome
    report: Dataset
    capture: Dataset


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ModelReader:
    folder = write_slide_bundle(tmp_path_factory.mktemp("models") / "purple")
    return ModelReader(Bundle.load(folder, TORCH))


def results(reader: ModelReader, paths: list[Path], kinds: tuple[ResultKind, ...] = tuple(ResultKind)) -> Results:
    headers = [dcmread(path, stop_before_pixels=True) for path in paths]
    instances = [
        Instance(d.StudyInstanceUID, d.SeriesInstanceUID, d.SOPInstanceUID, d.SOPClassUID, "", d.Modality, path)
        for d, path in zip(headers, paths, strict=True)
    ]
    analysis = AnalysisIdentity(instances[0].study_instance_uid, "0" * 64, cases.CREATED_AT)
    outcome = read_series(instances, reader, analysis, [ResultOptions(kinds=kinds)])
    made = {result.kind: result.dataset for result in outcome.readings[0].objects}
    assert set(made) == {ResultKind.STRUCTURED_REPORT, ResultKind.SECONDARY_CAPTURE}
    return Results(outcome, made[ResultKind.STRUCTURED_REPORT], made[ResultKind.SECONDARY_CAPTURE])


@pytest.fixture(scope="module")
def positive(reader: ModelReader, tmp_path_factory: pytest.TempPathFactory) -> Results:
    return results(reader, write_slide(tmp_path_factory.mktemp("slide"), picture()))


def test_region_is_a_polygon_on_the_glass_around_the_patch(positive: Results) -> None:
    (group,) = parsed(positive.report).get_planar_roi_measurement_groups()

    assert group.roi.ValueType == "SCOORD3D"
    assert group.roi.GraphicType == "POLYGON"
    assert group.roi.ReferencedFrameOfReferenceUID == FRAME_OF_REFERENCE
    points = np.reshape(group.roi.GraphicData, (-1, 3))
    np.testing.assert_array_equal(points[0], points[-1])
    # The patch is at row 384, column 307 of 1 micrometre; rows run towards -y, columns towards -x.
    x, y, z = points.mean(axis=0)
    assert x == pytest.approx(ORIGIN_MM[0] - 0.384, abs=0.015)
    assert y == pytest.approx(ORIGIN_MM[1] - 0.307, abs=0.015)
    assert z == 0


def test_tracking_identifier_has_no_parentheses_that_ohif_would_read_as_json(positive: Results) -> None:
    (group,) = parsed(positive.report).get_planar_roi_measurement_groups()

    assert group.tracking_identifier == "Metastasis: present, probability 99.96 %, threshold 50 %, balanced"


def test_report_names_every_level_in_evidence(positive: Results) -> None:
    (study,) = positive.report.CurrentRequestedProcedureEvidenceSequence
    named = {
        item.ReferencedSOPInstanceUID
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }

    assert named == set(positive.outcome.readings[0].stack.sop_instance_uids)
    assert len(named) == 2


def test_slide_without_place_on_the_glass_has_its_region_on_the_pixel_matrix(
    reader: ModelReader, tmp_path: Path
) -> None:
    paths = write_slide(tmp_path, picture(), TotalPixelMatrixOriginSequence=[])

    (group,) = parsed(results(reader, paths).report).get_planar_roi_measurement_groups()

    assert group.roi.ValueType == "SCOORD"
    assert group.roi.PixelOriginInterpretation == "VOLUME"
    columns, rows = np.reshape(group.roi.GraphicData, (-1, 2)).mean(axis=0)
    assert (columns, rows) == pytest.approx((307, 384), abs=15)


def test_region_is_scaled_from_the_overview_to_the_finest_level(reader: ModelReader, tmp_path: Path) -> None:
    fine = np.repeat(np.repeat(picture(), 2, axis=0), 2, axis=1)
    paths = write_slide(
        tmp_path, fine, microns_per_pixel=0.5, factors=(1, 4), tile=256, TotalPixelMatrixOriginSequence=[]
    )

    (group,) = parsed(results(reader, paths).report).get_planar_roi_measurement_groups()

    columns, rows = np.reshape(group.roi.GraphicData, (-1, 2)).mean(axis=0)
    assert (columns, rows) == pytest.approx((614, 768), abs=30)


def test_capture_shows_the_slide_in_colour_and_its_key_tiles(positive: Results) -> None:
    capture = positive.capture

    assert capture.NumberOfFrames == 2
    overview, tiles = np.frombuffer(capture.PixelData, np.uint8).reshape(2, capture.Rows, capture.Columns, 3)
    purple = [(np.abs(page.astype(int) - (110, 60, 170)).max(axis=-1) < 8) for page in (overview, tiles)]
    assert 5_000 < purple[0][:, :640].sum() < 20_000
    assert purple[1][:, :640].sum() > 200_000


def test_negative_slide_says_so_and_shows_where_it_looked_most(reader: ModelReader, tmp_path: Path) -> None:
    negative = results(reader, write_slide(tmp_path, picture(patch=False)))

    (group,) = parsed(negative.report).get_planar_roi_measurement_groups()
    assert group.tracking_identifier.startswith("Metastasis: absent")
    assert group.roi.ValueType == "SCOORD3D"
    assert "absent" in negative.capture.ImageComments


def test_same_slide_gives_the_same_bytes(reader: ModelReader, positive: Results, tmp_path: Path) -> None:
    again = results(reader, write_slide(tmp_path, picture()))

    assert again.report == positive.report
    assert again.capture.PixelData == positive.capture.PixelData


def test_broken_tiles_are_told_of_as_a_problem(reader: ModelReader, tmp_path: Path, monkeypatch: Any) -> None:
    paths = write_slide(tmp_path, picture(), factors=(1,))
    score = reader._slide_reader._score

    def cut_then_score(*arguments: Any) -> Any:
        paths[0].write_bytes(paths[0].read_bytes()[:200_000])
        return score(*arguments)

    monkeypatch.setattr(reader._slide_reader, "_score", cut_then_score)
    header = dcmread(paths[0], stop_before_pixels=True)
    instance = Instance("1.2", "1.3", header.SOPInstanceUID, header.SOPClassUID, "", "SM", paths[0])

    outcome = read_series([instance], reader, AnalysisIdentity("1.2", "0" * 64, cases.CREATED_AT), [ResultOptions()])

    assert outcome.readings == ()
    assert "could not be decoded" in outcome.problems[0]


@pytest.mark.skipif(bool(missing_validators()), reason=f"not installed: {', '.join(missing_validators())}")
def test_validators_find_no_error(positive: Results, tmp_path: Path) -> None:
    for number, dataset in enumerate((positive.report, positive.capture)):
        path = tmp_path / f"{number}.dcm"
        write_result(dataset, path)

        assert errors_in(path) == []
