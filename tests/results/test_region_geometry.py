"""The drawn region, decoded by plain arithmetic, lies where the model looked, however the slice lies."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom import Dataset

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


@pytest.mark.parametrize("spacing", SPACINGS.values(), ids=SPACINGS)
@pytest.mark.parametrize("orientation", ORIENTATIONS.values(), ids=ORIENTATIONS)
def test_centre_of_the_region_is_within_a_pixel_of_the_peak(
    orientation: tuple[float, ...], spacing: tuple[float, float]
) -> None:
    stack, sources = cases.ct(5, rows=48, columns=80, spacing=spacing, orientation=orientation)
    heat_map = cases.heat(48, 80, PEAK_ROW, PEAK_COLUMN)
    finding = cases.finding(stack, key_indices=(3,), heat_maps=[heat_map])
    (made,) = cases.built(stack, sources, finding)

    image, polygon = decoded_region(pydicom.dcmread(BytesIO(encode(made))))

    (source,) = [one for one in sources if image == one.SOPInstanceUID]
    assert source is sources[3]
    np.testing.assert_array_equal(polygon[0], polygon[-1])
    column, row = centroid(polygon) - 0.5
    distance = np.linalg.norm(patient_point(source, column, row) - patient_point(source, PEAK_COLUMN, PEAK_ROW))
    assert distance < min(spacing)


def test_segmentation_covers_the_peak_and_lies_on_the_key_slice() -> None:
    stack, sources = cases.ct(5, rows=48, columns=80, spacing=(1.5, 0.6), orientation=ORIENTATIONS["sagittal"])
    heat_map = cases.heat(48, 80, PEAK_ROW, PEAK_COLUMN)
    finding = cases.finding(stack, key_indices=(3,), heat_maps=[heat_map])
    (made,) = cases.built(stack, sources, finding, kinds=("SEG",))

    read = pydicom.dcmread(BytesIO(encode(made)))

    rows, columns = np.nonzero(read.pixel_array.reshape(48, 80))
    assert rows.mean() == pytest.approx(PEAK_ROW, abs=0.5)
    assert columns.mean() == pytest.approx(PEAK_COLUMN, abs=0.5)
    (frame,) = read.PerFrameFunctionalGroupsSequence
    np.testing.assert_allclose(
        frame.PlanePositionSequence[0].ImagePositionPatient, sources[3].ImagePositionPatient, atol=1e-6
    )
    shared = read.SharedFunctionalGroupsSequence[0]
    assert list(shared.PixelMeasuresSequence[0].PixelSpacing) == [1.5, 0.6]


def test_parametric_map_holds_the_heat_values_on_the_key_slice() -> None:
    stack, sources = cases.ct(5)
    finding = cases.finding(stack, key_indices=(2,))
    (made,) = cases.built(stack, sources, finding, kinds=("PM",))

    read = pydicom.dcmread(BytesIO(encode(made)))

    np.testing.assert_array_equal(np.squeeze(read.pixel_array), finding.heat_map)
    (frame,) = read.PerFrameFunctionalGroupsSequence
    (source,) = frame.DerivationImageSequence[0].SourceImageSequence
    assert source.ReferencedSOPInstanceUID == sources[2].SOPInstanceUID


def test_presentation_state_draws_the_same_region_and_leaves_the_window_alone() -> None:
    stack, sources = cases.ct(5)
    finding = cases.finding(stack, key_indices=(2,))
    (made,) = cases.built(stack, sources, finding, kinds=("PR",))
    (annotation,) = made.GraphicAnnotationSequence
    (graphic,) = annotation.GraphicObjectSequence
    np.testing.assert_allclose(np.array(graphic.GraphicData).reshape(-1, 2), finding.region, atol=1e-4)
    assert annotation.ReferencedImageSequence[0].ReferencedSOPInstanceUID == sources[2].SOPInstanceUID
    assert "present, probability 93 %" in annotation.TextObjectSequence[0].UnformattedTextValue
    assert "SoftcopyVOILUTSequence" not in made
    assert made.PresentationLUTShape == "IDENTITY"


def test_inverted_radiograph_keeps_its_polarity_in_the_presentation_state() -> None:
    stack, sources = cases.radiograph(PhotometricInterpretation="MONOCHROME1")
    (made,) = cases.built(stack, sources, cases.finding(stack), kinds=("PR",))
    assert made.PresentationLUTShape == "INVERSE"


def test_nothing_is_drawn_for_a_negative_study() -> None:
    stack, sources = cases.ct()
    assert cases.built(stack, sources, cases.finding(stack, probability=0.1), kinds=("PR", "PM", "SEG")) == []


def test_colour_images_get_no_greyscale_presentation_state() -> None:
    stack, sources = cases.radiograph(PhotometricInterpretation="RGB")
    assert cases.built(stack, sources, cases.finding(stack), kinds=("PR",)) == []
