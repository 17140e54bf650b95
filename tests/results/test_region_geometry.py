"""The drawn region, decoded by plain arithmetic, lies where the model looked, however the slice lies."""

from __future__ import annotations

from dataclasses import replace
from io import BytesIO

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import Dataset

from dicom_node.domain import Finding, ImageStack
from dicom_node.results.file import encode
from tests.results import cases

ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "axial seen from above": (-1, 0, 0, 0, 1, 0),
    "axial prone": (-1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "coronal upside down": (1, 0, 0, 0, 0, 1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "sagittal flipped": (0, -1, 0, 0, 0, -1),
    "oblique": (0.8, 0.6, 0, 0, 0, -1),
}
SPACINGS = {"square": (0.7, 0.7), "tall pixels": (1.5, 0.6), "wide pixels": (0.5, 1.25)}
PEAK_ROW, PEAK_COLUMN = 21, 50
PEAKS = {3: (PEAK_ROW, PEAK_COLUMN), 1: (30, 20), 4: (12, 33)}
"""Row and column by key slice, the key image first."""


def patient_point(source: Dataset, column: float, row: float) -> npt.NDArray[np.float64]:
    """PS3.3 Equation C.7.6.2.1-1 for indices that are 0 at the centre of the first pixel."""
    orientation = np.array(source.ImageOrientationPatient, float)
    between_rows, between_columns = (float(value) for value in source.PixelSpacing)
    return (
        np.array(source.ImagePositionPatient, float)
        + orientation[:3] * between_columns * column
        + orientation[3:] * between_rows * row
    )


def decoded_region(report: Dataset) -> tuple[str, npt.NDArray[np.float64]]:
    """The referenced image and the vertices of the only SCOORD, as any reader of PS3.3 C.18.6 finds them."""
    pending, found = list(report.ContentSequence), []
    while pending:
        item = pending.pop()
        pending.extend(item.get("ContentSequence", ()))
        if item.ValueType == "SCOORD":
            found.append(item)
    (scoord,) = found
    image = scoord.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    return image, np.array(scoord.GraphicData, float).reshape(-1, 2)


def centroid(polygon: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    x, y = polygon[:-1].T
    following_x, following_y = polygon[1:].T
    cross = x * following_y - following_x * y
    return np.array([((x + following_x) * cross).sum(), ((y + following_y) * cross).sum()]) / (3 * cross.sum())


def study_with_a_peak(
    orientation: tuple[float, ...], spacing: tuple[float, float]
) -> tuple[ImageStack, list[Dataset], Finding]:
    """A series whose fourth slice carries a finding at PEAK_ROW, PEAK_COLUMN; further key slices peak elsewhere."""
    stack, sources = cases.ct(5, rows=48, columns=80, spacing=spacing, orientation=orientation)
    heat_maps = [cases.heat(48, 80, row, column) for row, column in PEAKS.values()]
    return stack, sources, cases.finding(stack, key_indices=tuple(PEAKS), heat_maps=heat_maps)


in_every_geometry = [
    pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS),
    pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS),
]


@in_every_geometry[0]
@in_every_geometry[1]
def test_centre_of_the_region_is_within_a_pixel_of_the_peak(
    orientation: tuple[float, ...], spacing: tuple[float, float]
) -> None:
    stack, sources, finding = study_with_a_peak(orientation, spacing)
    (made,) = cases.built(stack, sources, finding)

    image, polygon = decoded_region(pydicom.dcmread(BytesIO(encode(made))))

    (source,) = [one for one in sources if image == one.SOPInstanceUID]
    assert source is sources[3]
    np.testing.assert_array_equal(polygon[0], polygon[-1])
    column, row = centroid(polygon) - 0.5
    distance = np.linalg.norm(patient_point(source, column, row) - patient_point(source, PEAK_COLUMN, PEAK_ROW))
    assert distance < min(spacing)


@pytest.mark.parametrize("kind", ["PM", "SEG"])
@in_every_geometry[0]
@in_every_geometry[1]
def test_every_frame_of_a_map_lies_on_its_key_slice_with_its_peak_in_place(
    orientation: tuple[float, ...], spacing: tuple[float, float], kind: str
) -> None:
    stack, sources, finding = study_with_a_peak(orientation, spacing)
    (made,) = cases.built(stack, sources, finding, kinds=(kind,))

    read = pydicom.dcmread(BytesIO(encode(made)))

    shared, found = read.SharedFunctionalGroupsSequence[0], {}
    for frame, pixels in zip(read.PerFrameFunctionalGroupsSequence, read.pixel_array, strict=True):
        plane = Dataset()
        plane.ImagePositionPatient = frame.PlanePositionSequence[0].ImagePositionPatient
        plane.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
        plane.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
        hot_rows, hot_columns = np.nonzero(pixels == pixels.max())
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        found[source.ReferencedSOPInstanceUID] = patient_point(plane, hot_columns.mean(), hot_rows.mean())
    assert set(found) == {sources[index].SOPInstanceUID for index in PEAKS}
    for index, (row, column) in PEAKS.items():
        expected = patient_point(sources[index], column, row)
        assert np.linalg.norm(found[sources[index].SOPInstanceUID] - expected) < min(spacing)


def test_parametric_map_holds_the_heat_values() -> None:
    stack, sources = cases.ct(5)
    finding = cases.finding(stack, key_indices=(2,))
    (made,) = cases.built(stack, sources, finding, kinds=("PM",))

    read = pydicom.dcmread(BytesIO(encode(made)))

    np.testing.assert_array_equal(np.squeeze(read.pixel_array), finding.heat_map)


@pytest.mark.parametrize("kind", ["PM", "SEG"])
def test_frames_of_a_map_name_the_frames_of_a_multi_frame_source(kind: str) -> None:
    stack, sources = cases.enhanced_ct()
    heat_map = cases.heat(64, 64, 20, 30)
    finding = cases.finding(stack, key_indices=(4, 1), heat_maps=[heat_map] * 2)
    (made,) = cases.built(stack, sources, finding, kinds=(kind,))
    named = {}
    for frame in made.PerFrameFunctionalGroupsSequence:
        (source,) = frame.DerivationImageSequence[0].SourceImageSequence
        assert source.ReferencedSOPInstanceUID == sources[0].SOPInstanceUID
        named[source.ReferencedFrameNumber] = list(frame.PlanePositionSequence[0].ImagePositionPatient)
    assert named == {index + 1: list(stack.planes[index].position or ()) for index in (4, 1)}


@pytest.mark.parametrize("kind", ["PM", "SEG"])
def test_slices_at_one_position_share_a_frame(kind: str) -> None:
    stack, sources = cases.ct(5)
    planes = (*stack.planes[:3], replace(stack.planes[3], position=stack.planes[2].position), stack.planes[4])
    finding = cases.finding(stack, key_indices=(2, 3), heat_maps=[cases.heat(64, 64, 20, 30)] * 2)
    (made,) = cases.built(replace(stack, planes=planes), sources, finding, kinds=(kind,))
    assert made.NumberOfFrames == 1


@pytest.mark.parametrize(("stated", "written"), [(3, 3), (None, 2)])
def test_slice_thickness_is_the_slices_distance_where_the_source_states_none(stated: int | None, written: int) -> None:
    stack, (source,) = cases.enhanced_ct()
    source.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SliceThickness = stated
    for made in cases.built(stack, [source], cases.finding(stack, key_indices=(4, 1)), kinds=("PM", "SEG")):
        (measures,) = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        assert measures.SliceThickness == written


def test_projections_have_neither_map_nor_segmentation() -> None:
    stack, sources = cases.radiograph()
    assert cases.built(stack, sources, cases.finding(stack), kinds=("PM", "SEG")) == []


def test_nothing_is_drawn_for_a_negative_study() -> None:
    stack, sources = cases.ct()
    assert cases.built(stack, sources, cases.finding(stack, probability=0.1), kinds=("PR", "PM", "SEG")) == []
