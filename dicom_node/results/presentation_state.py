"""The presentation state (GSPS): region and label over the original image, the reader's window left alone."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy

from pydicom import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from dicom_node.domain import Finding, ImagePlane, Polygon, ResultKind
from dicom_node.results import wording
from dicom_node.results.header import complete
from dicom_node.results.request import ResultRequest

_KIND = ResultKind.PRESENTATION_STATE
_LAYER = "AI_FINDINGS"
# CIELab of a bright green as unsigned 16 bit (PS3.3 C.10.7.1.1), and its nearest grey.
_LAYER_COLOUR = [57343, 20560, 54998]
_LAYER_GREY = 49512


Box = tuple[float, float, float, float]
_BOX_WIDTH, _BOX_HEIGHT = 0.5, 0.12
"""Of the label, in widths and heights of the image: enough for three lines in any usual font."""


def presentation_states(request: ResultRequest) -> list[Dataset]:
    """One presentation state for all regions of all findings; none where there is nothing to draw, or in colour."""
    marks = [
        (finding, key.index, key.region)
        for finding in wording.by_importance(request.reading.findings)
        for key in finding.key_images
        if key.region is not None
    ]
    in_grey = str(request.sources[0].get("PhotometricInterpretation", "MONOCHROME2")).startswith("MONOCHROME")
    if not marks or not in_grey:
        return []
    dataset = Dataset()
    dataset.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    dataset.Modality = "PR"
    dataset.Laterality = None
    _identify(dataset, request)
    images = {index: _image_reference(request.plane(index)) for _, index, _ in marks}
    dataset.ReferencedSeriesSequence = [_series_reference(request, list(images.values()))]
    labels: dict[int, list[Box]] = {index: [] for index in images}
    dataset.GraphicAnnotationSequence = []
    for finding, index, region in marks:
        labels[index].append(label_box(request.plane(index), region, labels[index]))
        dataset.GraphicAnnotationSequence.append(_annotation(finding, region, labels[index][-1], images[index]))
    dataset.GraphicLayerSequence = [_layer()]
    dataset.DisplayedAreaSelectionSequence = [
        _displayed_area(request.plane(index), image) for index, image in images.items()
    ]
    _add_greyscale(dataset, request.source(marks[0][1]))
    return [complete(dataset, request.provenance(_KIND), _KIND)]


def label_box(plane: ImagePlane, region: Polygon, taken: Sequence[Box]) -> Box:
    """Where the label of a region stands, as (left, top, right, bottom) in pixels: below it, above it, or elsewhere.

    It lies within the image, since viewers cut what runs out of it, and on none of those ``taken``.
    """
    columns, rows = zip(*region, strict=True)
    width, height = _BOX_WIDTH * plane.columns, _BOX_HEIGHT * plane.rows
    left = min(max((min(columns) + max(columns) - width) / 2, 0.0), plane.columns - width)
    tops = [max(rows), min(rows) - height, *(place * height for place in range(int(1 / _BOX_HEIGHT)))]
    within = [top for top in tops if 0 <= top <= plane.rows - height]
    free = [top for top in within if all(top >= bottom or top + height <= above for _, above, _, bottom in taken)]
    top = (free or within)[0]
    return left, top, left + width, top + height


def _identify(dataset: Dataset, request: ResultRequest) -> None:
    """Presentation State Identification (PS3.3 C.11.10)."""
    dataset.ContentLabel = "AI_FINDINGS"
    dataset.ContentDescription = f"{wording.NOT_VERIFIED}: {wording.model_text(request.reading)}"[:64]
    dataset.ContentCreatorName = None
    dataset.PresentationCreationDate = f"{request.created_at:%Y%m%d}"
    dataset.PresentationCreationTime = f"{request.created_at:%H%M%S}"


def _image_reference(plane: ImagePlane) -> Dataset:
    item = Dataset()
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


def _annotation(finding: Finding, region: Polygon, box: Box, image: Dataset) -> Dataset:
    """Region and label (PS3.3 C.10.5); PIXEL coordinates count as SCOORD does, from the corner of the image."""
    graphic = Dataset()
    graphic.GraphicAnnotationUnits = "PIXEL"
    graphic.GraphicDimensions = 2
    graphic.NumberOfGraphicPoints = len(region)
    graphic.GraphicData = [coordinate for vertex in region for coordinate in vertex]
    graphic.GraphicType = "POLYLINE"
    graphic.GraphicFilled = "N"
    text = Dataset()
    probability = f"probability {wording.probability_text(finding)} ({wording.operating_point_text(finding)})"
    text.UnformattedTextValue = "\r\n".join([wording.headline(finding), probability, wording.NOT_VERIFIED])
    text.BoundingBoxAnnotationUnits = "PIXEL"
    text.BoundingBoxTopLeftHandCorner = list(box[:2])
    text.BoundingBoxBottomRightHandCorner = list(box[2:])
    text.BoundingBoxTextHorizontalJustification = "LEFT"
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


def _displayed_area(plane: ImagePlane, image: Dataset) -> Dataset:
    """The whole image in its true shape (PS3.3 C.10.4)."""
    area = Dataset()
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
