"""CT headers, classic or Enhanced, as one list of slices: the facts that put a stack together."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset

from dicom_node.geometry import RowAndColumn, Vector, is_valid_orientation, position_along_normal
from dicom_node.imaging.decoding import first_value, numbers, read_header
from dicom_node.imaging.errors import UnreadableImage

HEADER_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "ImageType",
    "AcquisitionNumber",
    "InstanceNumber",
    "KVP",
    "ConvolutionKernel",
    "SliceThickness",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


@dataclass(frozen=True, slots=True, eq=False)
class CtFile:
    """One CT object and its header without pixels."""

    path: Path
    header: Dataset

    @property
    def sop_instance_uid(self) -> str:
        """SOP Instance UID, empty where the file has none."""
        return str(self.header.get("SOPInstanceUID", ""))


@dataclass(frozen=True, slots=True)
class CtSlice:
    """One slice: a classic image, or a frame of an Enhanced one.

    ``position`` (mm), ``orientation``, ``pixel_spacing`` (mm), ``slope`` and ``intercept`` are None where the
    header does not give them. ``acquisition`` tells apart what was acquired or reconstructed differently.
    """

    file: CtFile
    frame_index: int
    frame_number: int | None
    rows: int
    columns: int
    image_type: tuple[str, ...]
    position: Vector | None
    orientation: RowAndColumn | None
    pixel_spacing: tuple[float, float] | None
    slope: float | None
    intercept: float | None
    rescale_type: str
    acquisition: tuple[tuple[str, str], ...]
    instance_number: float

    @property
    def height(self) -> float:
        """Distance along the slice's own normal, in mm; only where position and orientation are known."""
        if self.position is None or self.orientation is None:
            raise ValueError("a slice without position has no height")
        return position_along_normal(self.position, self.orientation)


_ACQUISITION_KEYWORDS = (
    "AcquisitionNumber",
    "TemporalPositionIndex",
    "NominalPercentageOfCardiacPhase",
    "KVP",
    "ConvolutionKernel",
    "SliceThickness",
)


def read_slices(path: Path) -> tuple[CtSlice, ...]:
    """Read the header of one CT object as its slices, in the order of its frames.

    Raises:
        UnreadableImage: the header cannot be read, or lacks what every image has.
    """
    header = read_header(path, HEADER_KEYWORDS)
    file = CtFile(path, header)
    rows, columns = first_value(header, "Rows"), first_value(header, "Columns")
    if not rows or not columns:
        raise UnreadableImage(path, "it holds no image (Rows or Columns missing)", file.sop_instance_uid)
    per_frame = header.get("PerFrameFunctionalGroupsSequence")
    if not per_frame:
        frames = first_value(header, "NumberOfFrames") or 1
        if frames > 1:
            reason = f"its {frames:.0f} frames have no functional groups that place them"
            raise UnreadableImage(path, reason, file.sop_instance_uid)
        return (_slice(file, (header,), 0, None),)
    shared = header.get("SharedFunctionalGroupsSequence") or [Dataset()]
    return tuple(
        _slice(file, (*_macros(groups), *_macros(shared[0]), header), index, index + 1)
        for index, groups in enumerate(per_frame)
    )


def _macros(groups: Dataset) -> tuple[Dataset, ...]:
    """The first item of each functional group macro (PS3.3 C.7.6.16)."""
    return tuple(element.value[0] for element in groups if element.VR == "SQ" and len(element.value))


def _slice(file: CtFile, sources: tuple[Dataset, ...], index: int, frame_number: int | None) -> CtSlice:
    """Build a slice from data sets that are asked one after the other, the most specific first."""

    def source_of(*keywords: str) -> Dataset:
        return next((source for source in sources if any(keyword in source for keyword in keywords)), file.header)

    position = numbers(source_of("ImagePositionPatient"), "ImagePositionPatient", 3)
    orientation = numbers(source_of("ImageOrientationPatient"), "ImageOrientationPatient", 6)
    spacing = numbers(source_of("PixelSpacing"), "PixelSpacing", 2)
    rescale = source_of("RescaleSlope", "RescaleIntercept")
    frame_type = source_of("FrameType").get("FrameType") or file.header.get("ImageType") or ()
    if isinstance(frame_type, str):
        frame_type = (frame_type,)
    return CtSlice(
        file=file,
        frame_index=index,
        frame_number=frame_number,
        rows=int(first_value(file.header, "Rows") or 0),
        columns=int(first_value(file.header, "Columns") or 0),
        image_type=tuple(str(value).strip().upper() for value in frame_type),
        position=None if position is None else (position[0], position[1], position[2]),
        orientation=_orientation(orientation),
        pixel_spacing=None if spacing is None or min(spacing) <= 0 else (spacing[0], spacing[1]),
        slope=first_value(rescale, "RescaleSlope"),
        intercept=first_value(rescale, "RescaleIntercept"),
        rescale_type=str(rescale.get("RescaleType") or "HU").strip().upper(),
        acquisition=tuple(
            (keyword, str(source_of(keyword).get(keyword, "")))
            for keyword in (*_ACQUISITION_KEYWORDS, "FrameAcquisitionNumber")
        ),
        instance_number=first_value(file.header, "InstanceNumber") or 0.0,
    )


def _orientation(values: tuple[float, ...] | None) -> RowAndColumn | None:
    if values is None or not is_valid_orientation(values):
        return None
    return values[0], values[1], values[2], values[3], values[4], values[5]
