"""The presentation state (GSPS): region and label over the original image, the reader's window left alone."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from dicom_node.domain import Finding, ResultKind
from dicom_node.results import wording
from dicom_node.results.header import complete
from dicom_node.results.request import ResultRequest

_KIND = ResultKind.PRESENTATION_STATE
_LAYER = "AI_FINDINGS"
# CIELab of a bright green as unsigned 16 bit (PS3.3 C.10.7.1.1), and its nearest grey.
_LAYER_COLOUR = [57343, 20560, 54998]
_LAYER_GREY = 49512


def presentation_states(request: ResultRequest) -> list[Dataset]:
    """One presentation state for all findings with a region; none where there is nothing to draw, or in colour."""
    findings = [finding for finding in wording.by_importance(request.reading.findings) if finding.region is not None]
    in_grey = str(request.sources[0].get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME")
    if not findings or not in_grey:
        return []
    dataset = Dataset()
    dataset.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    dataset.Modality = "PR"
    dataset.Laterality = None
    _identify(dataset, request)
    images = [_image_reference(request, finding) for finding in findings]
    dataset.ReferencedSeriesSequence = [_series_reference(request, images)]
    dataset.GraphicAnnotationSequence = [
        _annotation(finding, image) for finding, image in zip(findings, images, strict=True)
    ]
    dataset.GraphicLayerSequence = [_layer()]
    dataset.DisplayedAreaSelectionSequence = [
        _displayed_area(request, finding, image) for finding, image in zip(findings, images, strict=True)
    ]
    _add_greyscale(dataset, request.source(findings[0].key_index))
    return [complete(dataset, request.provenance(_KIND), _KIND)]


def _identify(dataset: Dataset, request: ResultRequest) -> None:
    """Presentation State Identification (PS3.3 C.11.10)."""
    dataset.ContentLabel = "AI_FINDINGS"
    dataset.ContentDescription = f"{wording.NOT_VERIFIED}: {wording.model_text(request.reading)}"[:64]
    dataset.ContentCreatorName = None
    dataset.PresentationCreationDate = f"{request.created_at:%Y%m%d}"
    dataset.PresentationCreationTime = f"{request.created_at:%H%M%S}"


def _image_reference(request: ResultRequest, finding: Finding) -> Dataset:
    plane, item = request.plane(finding.key_index), Dataset()
    item.ReferencedSOPClassUID = plane.sop_class_uid
    item.ReferencedSOPInstanceUID = plane.sop_instance_uid
    if plane.frame_number is not None:
        item.ReferencedFrameNumber = plane.frame_number
    return item


def _series_reference(request: ResultRequest, images: Sequence[Dataset]) -> Dataset:
    """Each referenced instance once, all its referenced frames together."""
    by_uid: dict[str, Dataset] = {}
    for image in images:
        known = by_uid.get(image.ReferencedSOPInstanceUID)
        if known is None:
            by_uid[image.ReferencedSOPInstanceUID] = deepcopy(image)
        elif "ReferencedFrameNumber" in known:
            frames = {*_values(known.ReferencedFrameNumber), *_values(image.ReferencedFrameNumber)}
            known.ReferencedFrameNumber = sorted(frames)
    series = Dataset()
    series.SeriesInstanceUID = request.reading.series_instance_uid
    series.ReferencedImageSequence = list(by_uid.values())
    return series


def _values(value: int | Sequence[int]) -> list[int]:
    return [int(value)] if isinstance(value, int) else [int(item) for item in value]


def _annotation(finding: Finding, image: Dataset) -> Dataset:
    """Region and sentence (PS3.3 C.10.5); PIXEL coordinates count as SCOORD does, from the corner of the image."""
    vertices = finding.region or ()
    graphic = Dataset()
    graphic.GraphicAnnotationUnits = "PIXEL"
    graphic.GraphicDimensions = 2
    graphic.NumberOfGraphicPoints = len(vertices)
    graphic.GraphicData = [coordinate for vertex in vertices for coordinate in vertex]
    graphic.GraphicType = "POLYLINE"
    graphic.GraphicFilled = "N"
    text = Dataset()
    text.UnformattedTextValue = f"{wording.sentence(finding)}\r\n{wording.NOT_VERIFIED}"
    text.AnchorPointAnnotationUnits = "PIXEL"
    text.AnchorPoint = list(max(vertices))
    text.AnchorPointVisibility = "N"
    annotation = Dataset()
    annotation.ReferencedImageSequence = [deepcopy(image)]
    annotation.GraphicLayer = _LAYER
    annotation.TextObjectSequence = [text]
    annotation.GraphicObjectSequence = [graphic]
    return annotation


def _layer() -> Dataset:
    layer = Dataset()
    layer.GraphicLayer = _LAYER
    layer.GraphicLayerOrder = 1
    layer.GraphicLayerRecommendedDisplayGrayscaleValue = _LAYER_GREY
    layer.GraphicLayerRecommendedDisplayCIELabValue = _LAYER_COLOUR
    layer.GraphicLayerDescription = wording.NOT_VERIFIED
    return layer


def _displayed_area(request: ResultRequest, finding: Finding, image: Dataset) -> Dataset:
    """The whole image in its true shape (PS3.3 C.10.4)."""
    plane, area = request.plane(finding.key_index), Dataset()
    area.ReferencedImageSequence = [deepcopy(image)]
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [plane.columns, plane.rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    if plane.pixel_spacing is not None:
        area.PresentationPixelSpacing = [f"{spacing:.10g}" for spacing in plane.pixel_spacing]
    else:
        # Pixel Aspect Ratio is a pair of whole numbers, vertical over horizontal.
        area.PresentationPixelAspectRatio = [round(1000 * plane.pixel_aspect), 1000]
    return area


def _add_greyscale(dataset: Dataset, source: Dataset) -> None:
    """The modality transformation of the image and no window: a window here would take the reader's away."""
    if source.get("RescaleSlope") is not None and source.get("RescaleIntercept") is not None:
        dataset.RescaleIntercept = source.RescaleIntercept
        dataset.RescaleSlope = source.RescaleSlope
        dataset.RescaleType = source.get("RescaleType") or ("HU" if source.get("Modality") == "CT" else "US")
    inverse = source.get("PhotometricInterpretation") == "MONOCHROME1"
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
