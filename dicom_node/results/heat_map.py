"""The heat maps as objects of their own: a parametric map of their values, or a segmentation of the regions.

Both lie in a frame of reference, so that a radiograph has neither. A segmentation without one is allowed, but OHIF
shows a black page for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import highdicom as hd
import numpy as np
import numpy.typing as npt
from highdicom.pm import ParametricMap, RealWorldValueMapping
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from PIL import Image, ImageDraw
from pydicom import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain import MANUFACTURER, Finding, ImagePlane, ImageStack, Polygon, ResultKind
from dicom_node.geometry import position_along_normal
from dicom_node.results import concepts, wording
from dicom_node.results.header import complete, patient_and_study
from dicom_node.results.request import ResultRequest

_MORPHOLOGICALLY_ABNORMAL = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
_SAME_PLACE_MM = 1e-3
_NO_UNITS = CodedConcept("1", "UCUM", "no units")


def parametric_maps(request: ResultRequest) -> list[Dataset]:
    """A map for each finding with heat maps, one 32 bit float frame on the grid of each key image."""
    kind = ResultKind.PARAMETRIC_MAP
    maps = []
    for finding in request.reading.findings:
        heats = {key.index: key.heat_map for key in finding.key_images if key.heat_map is not None}
        if not (indices := _placed(request, heats)):
            continue
        dataset = ParametricMap(
            pixel_array=np.stack([heats[index] for index in indices]),
            real_world_value_mappings=[_value_mapping(finding)],
            voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
            contains_recognizable_visual_features=False,
            content_label="AI_HEAT_MAP",
            content_description=wording.sentence(finding)[:64],
            **_placement(request, finding, indices, kind),
        )
        dataset.Laterality = None
        maps.append(_completed(dataset, request, finding, kind))
    return maps


def segmentations(request: ResultRequest) -> list[Dataset]:
    """A binary segmentation for each finding with regions, one frame on the grid of each key image."""
    kind = ResultKind.SEGMENTATION
    objects = []
    for finding in request.reading.findings:
        regions = {key.index: key.region for key in finding.key_images if key.region is not None}
        if not (indices := _placed(request, regions)):
            continue
        dataset = Segmentation(
            pixel_array=np.stack([_mask(request.plane(index), regions[index]) for index in indices]),
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(request, finding)],
            content_label="AI_REGION",
            content_description=wording.sentence(finding)[:64],
            **_placement(request, finding, indices, kind),
        )
        objects.append(_completed(dataset, request, finding, kind))
    return objects


def _completed(dataset: Dataset, request: ResultRequest, finding: Finding, kind: ResultKind) -> Dataset:
    """``dataset`` with our header; highdicom's random name for the organization of its dimensions made ours."""
    _add_slice_thickness(dataset, request.stack)
    dimensions = request.identity(kind).dimension_organization_uid(kind, finding.number)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    return complete(dataset, request.provenance(kind), kind, finding_number=finding.number)


def _add_slice_thickness(dataset: Dataset, stack: ImageStack) -> None:
    """Slice Thickness (PS3.3 C.7.6.16.2.1), which a volume has to state: the slices' distance where no source does."""
    (measures,) = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    if measures.get("SliceThickness"):
        return
    places = [
        position_along_normal(plane.position, plane.orientation)
        for plane in stack.planes
        if plane.position is not None and plane.orientation is not None
    ]
    if distances := [step for step in np.diff(np.sort(places)) if step > _SAME_PLACE_MM]:
        measures.SliceThickness = f"{np.median(distances):.6g}"


def _placed(request: ResultRequest, indices: Iterable[int]) -> list[int]:
    """Which of the images can be mapped: slices in a frame of reference, one for each position."""
    by_position: dict[tuple[float, ...], int] = {}
    for index in indices:
        plane = request.plane(index)
        if (
            plane.position
            and plane.orientation
            and plane.pixel_spacing
            and "FrameOfReferenceUID" in request.source(index)
        ):
            by_position.setdefault(plane.position, index)
    return list(by_position.values())


def _placement(request: ResultRequest, finding: Finding, indices: Sequence[int], kind: ResultKind) -> dict[str, Any]:
    """What both objects tell of their source images, their places, and the device."""
    identity = request.identity(kind)
    sources = {request.plane(index).sop_instance_uid: request.source(index) for index in indices}
    return {
        "source_images": [_source(source) for source in sources.values()],
        "series_instance_uid": identity.result_series_uid(kind),
        "series_number": request.options.series_number(kind),
        "sop_instance_uid": identity.sop_instance_uid(kind, finding.number),
        "instance_number": finding.number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": request.reading.model.name,
        "software_versions": request.provenance(kind).software_versions,
        "device_serial_number": request.reading.model.weights_digest,
        **_geometry([request.plane(index) for index in indices]),
    }


def _geometry(planes: Sequence[ImagePlane]) -> dict[str, Any]:
    """The planes, which have the orientation and spacing of the first, in functional groups."""
    patient, first = hd.CoordinateSystemNames.PATIENT, planes[0]
    positions = [plane.position for plane in planes if plane.position is not None]
    if first.orientation is None or first.pixel_spacing is None:
        return {}
    return {
        "plane_positions": [hd.PlanePositionSequence(patient, position) for position in positions],
        "plane_orientation": hd.PlaneOrientationSequence(patient, first.orientation),
        "pixel_measures": hd.PixelMeasuresSequence(first.pixel_spacing, slice_thickness=None),
    }


def _source(source: Dataset) -> Dataset:
    """The header of a key image, with the attributes that highdicom asks of it in order."""
    header = Dataset()
    header.update(source)
    header.update(patient_and_study(source))
    # highdicom would repeat an unusual name in a warning; the right one is put in at the end.
    header.PatientName = None
    header.file_meta = source.file_meta
    # highdicom knows no character set with code extensions; the study's own is put in at the end.
    header.pop("SpecificCharacterSet", None)
    if "PositionReferenceIndicator" not in header:
        header.PositionReferenceIndicator = None
    return header


def _value_mapping(finding: Finding) -> RealWorldValueMapping:
    """Heat from 0 to 1 as it is stored, without a unit; each frame has its own peak at 1."""
    return RealWorldValueMapping(
        lut_label="HEAT",
        lut_explanation=f"Attention of the model for {finding.label}"[:64],
        unit=_NO_UNITS,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
    )


def _mask(plane: ImagePlane, region: Polygon) -> npt.NDArray[np.uint8]:
    """The region as (rows, columns) of 0 and 1; pixel centres are at half coordinates (PS3.3 C.18.6.1.1)."""
    mask = Image.new("L", (plane.columns, plane.rows))
    # PIL counts from pixel centres and cuts fractions off, which would move the region.
    vertices = [(round(column - 0.5), round(row - 0.5)) for column, row in region]
    ImageDraw.Draw(mask).polygon(vertices, fill=1, outline=1)
    return np.asarray(mask)


def _segment(request: ResultRequest, finding: Finding) -> SegmentDescription:
    return SegmentDescription(
        segment_number=1,
        segment_label=wording.headline(finding)[:64],
        segmented_property_category=_MORPHOLOGICALLY_ABNORMAL,
        segmented_property_type=concepts.concept(finding.code),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=request.reading.model.name,
            version=request.reading.model.version,
            family=codes.DCM.ArtificialIntelligence,
        ),
        tracking_uid=request.identity(ResultKind.STRUCTURED_REPORT).tracking_uid(finding.number),
        tracking_id=wording.sentence(finding)[:64],
        anatomic_regions=[concepts.concept(finding.site)],
    )
