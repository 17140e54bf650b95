"""The headers of whole slide images: which of them show the specimen, and where it lies on the glass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset
from pydicom.uid import VLWholeSlideMicroscopyImageStorage

from dicom_node.domain import NotApplicable
from dicom_node.geometry import RowAndColumn, is_valid_orientation
from dicom_node.imaging.decoding import first_value, numbers, read_header
from dicom_node.imaging.errors import UnreadableImage

VOLUME = "VOLUME"
"""The image flavour (Image Type value 3, PS3.3 C.8.12.4.1.1) that shows the specimen, and the only one that is read.

LABEL and OVERVIEW images show the slide's label, which may carry the patient's name.
"""

_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "SpecimenLabelInImage",
    "SamplesPerPixel",
    "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns",
    "TotalPixelMatrixOriginSequence",
    "ImageOrientationSlide",
    "FrameOfReferenceUID",
    "SharedFunctionalGroupsSequence",
)


@dataclass(frozen=True, slots=True)
class SlideFile:
    """One image of the specimen, or a part of one (a concatenation); ``spacing_mm`` is (between rows, columns)."""

    path: Path
    sop_instance_uid: str
    rows: int
    columns: int
    spacing_mm: tuple[float, float]
    frame_of_reference_uid: str | None
    origin_mm: tuple[float, float] | None
    orientation: RowAndColumn | None


def read_slide_files(paths: Sequence[Path]) -> tuple[tuple[SlideFile, ...], tuple[UnreadableImage, ...]]:
    """Read the headers of a series; images of label and surroundings are passed over unopened.

    Returns:
        The images of the specimen, finest first, and the files whose headers are broken.

    Raises:
        NotApplicable: none of them shows a stained specimen with known resolution; the text says why.
    """
    files: list[SlideFile] = []
    problems: list[UnreadableImage] = []
    reasons: list[str] = []
    for path in paths:
        try:
            header = read_header(path, _KEYWORDS)
        except UnreadableImage as problem:
            problems.append(problem)
            continue
        reason = _why_not(header)
        if reason is None:
            files.append(_slide_file(path, header))
        else:
            reasons.append(reason)
    if not files and not problems:
        raise NotApplicable(" ".join(dict.fromkeys(reasons)) or "The series has no images.")
    return tuple(sorted(files, key=lambda file: (-file.columns * file.rows, file.sop_instance_uid))), tuple(problems)


def is_whole_slide(path: Path) -> bool:
    """Say whether a file holds a whole slide image; one that cannot be read is taken for none."""
    try:
        return bool(read_header(path, ("SOPClassUID",)).get("SOPClassUID") == VLWholeSlideMicroscopyImageStorage)
    except UnreadableImage:
        return False


def _why_not(header: Dataset) -> str | None:
    """Say in a sentence why an image is not read; None where it is."""
    if header.get("SOPClassUID") != VLWholeSlideMicroscopyImageStorage:
        return "The series holds images that are no whole slide images."
    image_type = list(header.get("ImageType") or ())
    if len(image_type) < 3 or image_type[2] != VOLUME:
        return "The slide has no image of the specimen (VOLUME), only others such as label or overview."
    if header.get("SpecimenLabelInImage") == "YES":
        return "The slide's label is in the image, which may carry the patient's name: it is not read."
    if first_value(header, "SamplesPerPixel") != 3:
        return "The slide is not in colour: the model reads stained tissue in bright field."
    if not first_value(header, "TotalPixelMatrixRows") or not first_value(header, "TotalPixelMatrixColumns"):
        return "The slide's size is unknown: Total Pixel Matrix Rows or Columns is missing."
    if _spacing(header) is None:
        return "The slide's resolution is unknown: Pixel Spacing is missing."
    return None


def _slide_file(path: Path, header: Dataset) -> SlideFile:
    origin = (header.get("TotalPixelMatrixOriginSequence") or [Dataset()])[0]
    x, y = first_value(origin, "XOffsetInSlideCoordinateSystem"), first_value(origin, "YOffsetInSlideCoordinateSystem")
    spacing = _spacing(header)
    if spacing is None:
        raise ValueError("the spacing was not checked")
    return SlideFile(
        path=path,
        sop_instance_uid=str(header.get("SOPInstanceUID", "")),
        rows=int(header.TotalPixelMatrixRows),
        columns=int(header.TotalPixelMatrixColumns),
        spacing_mm=spacing,
        frame_of_reference_uid=str(header.get("FrameOfReferenceUID") or "") or None,
        origin_mm=None if x is None or y is None else (x, y),
        orientation=_orientation(numbers(header, "ImageOrientationSlide", 6)),
    )


def _orientation(values: tuple[float, ...] | None) -> RowAndColumn | None:
    if values is None or not is_valid_orientation(values):
        return None
    return values[0], values[1], values[2], values[3], values[4], values[5]


def _spacing(header: Dataset) -> tuple[float, float] | None:
    shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    measures = (shared.get("PixelMeasuresSequence") or [Dataset()])[0]
    spacing = numbers(measures, "PixelSpacing", 2)
    return None if spacing is None or min(spacing) <= 0 else (spacing[0], spacing[1])
