"""The heat map as an object of its own: a parametric map of its values, or a segmentation of the region."""

from __future__ import annotations

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

from dicom_node.domain import MANUFACTURER, Finding, ImagePlane, ResultKind
from dicom_node.results import concepts, wording
from dicom_node.results.header import complete, patient_and_study
from dicom_node.results.request import ResultRequest

_MORPHOLOGICALLY_ABNORMAL = CodedConcept("49755003", "SCT", "Morphologically Abnormal Structure")
_NO_UNITS = CodedConcept("1", "UCUM", "no units")


def parametric_maps(request: ResultRequest) -> list[Dataset]:
    """A map, one 32 bit float frame on the key image's grid, for each finding with a heat map.

    Parametric maps lie in a frame of reference, so that a radiograph has none.
    """
    kind = ResultKind.PARAMETRIC_MAP
    maps = []
    for finding in _mapped(request):
        if request.plane(finding.key_index).position is None or finding.heat_map is None:
            continue
        dataset = ParametricMap(
            pixel_array=finding.heat_map.astype(np.float32)[None],
            real_world_value_mappings=[_value_mapping(finding)],
            voi_lut_transformations=[hd.VOILUTTransformation(window_center=0.5, window_width=1.0)],
            contains_recognizable_visual_features=False,
            content_label="AI_HEAT_MAP",
            content_description=wording.sentence(finding)[:64],
            **_placement(request, finding, kind),
        )
        dataset.Laterality = None
        maps.append(_completed(dataset, request, finding, kind))
    return maps


def segmentations(request: ResultRequest) -> list[Dataset]:
    """A binary segmentation, one frame on the key image's grid, for each finding with a region."""
    kind = ResultKind.SEGMENTATION
    objects = []
    for finding in _mapped(request):
        if finding.region is None:
            continue
        dataset = Segmentation(
            pixel_array=_region_mask(request.plane(finding.key_index), finding)[None],
            segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=[_segment(request, finding)],
            content_label="AI_REGION",
            content_description=wording.sentence(finding)[:64],
            **_placement(request, finding, kind),
        )
        if request.plane(finding.key_index).position is None:
            dataset.PatientOrientation = request.source(finding.key_index).get("PatientOrientation")
        objects.append(_completed(dataset, request, finding, kind))
    return objects


def _completed(dataset: Dataset, request: ResultRequest, finding: Finding, kind: ResultKind) -> Dataset:
    """``dataset`` with our header; highdicom's random name for the organization of its dimensions made ours."""
    dimensions = request.identity(kind).dimension_organization_uid(kind, finding.number)
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = dimensions
    return complete(dataset, request.provenance(kind), kind, finding_number=finding.number)


def _mapped(request: ResultRequest) -> list[Finding]:
    """The findings with something to map; a slice without frame of reference has no place to map it to."""
    return [
        finding
        for finding in request.reading.findings
        if (finding.heat_map is not None or finding.region is not None)
        and (
            request.plane(finding.key_index).position is None
            or "FrameOfReferenceUID" in request.source(finding.key_index)
        )
    ]


def _placement(request: ResultRequest, finding: Finding, kind: ResultKind) -> dict[str, Any]:
    """What both objects tell of their source image, its place, and the device."""
    plane, identity = request.plane(finding.key_index), request.identity(kind)
    return {
        "source_images": [_source(request, finding)],
        "series_instance_uid": identity.result_series_uid(kind),
        "series_number": request.options.series_number(kind),
        "sop_instance_uid": identity.sop_instance_uid(kind, finding.number),
        "instance_number": finding.number,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": request.reading.model.name,
        "software_versions": request.provenance(kind).software_versions,
        "device_serial_number": request.reading.model.weights_digest,
        **_geometry(plane),
    }


def _geometry(plane: ImagePlane) -> dict[str, Any]:
    """The plane in functional groups; nothing where it has no place in the patient."""
    if plane.position is None or plane.orientation is None or plane.pixel_spacing is None:
        return {}
    return {
        "plane_positions": [hd.PlanePositionSequence(hd.CoordinateSystemNames.PATIENT, plane.position)],
        "plane_orientation": hd.PlaneOrientationSequence(hd.CoordinateSystemNames.PATIENT, plane.orientation),
        "pixel_measures": hd.PixelMeasuresSequence(plane.pixel_spacing, slice_thickness=None),
    }


def _source(request: ResultRequest, finding: Finding) -> Dataset:
    """The header of the key image, with the attributes that highdicom asks of it in order."""
    source = request.source(finding.key_index)
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
    """Heat from 0 to 1 as it is stored, without a unit."""
    return RealWorldValueMapping(
        lut_label="HEAT",
        lut_explanation=f"Attention of the model for {finding.label}"[:64],
        unit=_NO_UNITS,
        value_range=(0.0, 1.0),
        slope=1.0,
        intercept=0.0,
    )


def _region_mask(plane: ImagePlane, finding: Finding) -> npt.NDArray[np.uint8]:
    """The region as (rows, columns) of 0 and 1; pixel centres are at half coordinates (PS3.3 C.18.6.1.1)."""
    mask = Image.new("L", (plane.columns, plane.rows))
    vertices = [(column - 0.5, row - 0.5) for column, row in finding.region or ()]
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
