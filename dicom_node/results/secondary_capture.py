"""The secondary capture: what every viewer shows, an RGB page for each finding, several for a CT."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from PIL import Image
from pydicom import Dataset
from pydicom.uid import MultiFrameTrueColorSecondaryCaptureImageStorage, SecondaryCaptureImageStorage

from dicom_node.domain import Evaluation, Finding, KeyImage, ResultKind
from dicom_node.results import wording
from dicom_node.results.display import ByteArray, display_image, fitted_size, with_heat
from dicom_node.results.header import complete
from dicom_node.results.page import MAXIMUM_ROWS, PANEL, Page, Panel, Profile, Statement, render
from dicom_node.results.placement import letters_of, position_text, stack_ends
from dicom_node.results.request import ResultRequest
from dicom_node.results.slide_page import places_panel, slide_caption, tiles_panel

MAXIMUM_PAGES = 12
_LINES = 16  # of a statement

_KIND = ResultKind.SECONDARY_CAPTURE


def secondary_capture(request: ResultRequest) -> Dataset:
    """The capture of one reading: single-frame where one page says it all, else multi-frame true colour."""
    dataset = capture_of([render(page) for page in pages_of(request)])
    dataset.DerivationDescription = f"{wording.NOT_VERIFIED}: {wording.model_text(request.reading)}"
    dataset.ImageComments = "; ".join(
        wording.sentence(finding) for finding in wording.by_importance(request.reading.findings)
    )
    if any(source.get("LossyImageCompression") == "01" for source in request.sources):
        dataset.LossyImageCompression = "01"
    _reference_sources(dataset, request)
    return complete(dataset, request.provenance(_KIND), _KIND)


def capture_of(pages: list[ByteArray]) -> Dataset:
    """A secondary capture of ``pages``, each (H, W, 3), before anything is said of where they come from."""
    dataset = Dataset()
    dataset.Modality = "OT"
    dataset.ConversionType = "WSD"
    dataset.ImageType = ["DERIVED", "SECONDARY"]
    dataset.BurnedInAnnotation = "YES"
    dataset.RecognizableVisualFeatures = "NO"
    dataset.Laterality = None
    dataset.PatientOrientation = None
    _put_pixels(dataset, pages)
    return dataset


def _put_pixels(dataset: Dataset, frames: list[ByteArray]) -> None:
    """RGB, interleaved, uncompressed: what goes through every gateway unchanged."""
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    if len(frames) > 1:
        dataset.SOPClassUID = MultiFrameTrueColorSecondaryCaptureImageStorage
        dataset.NumberOfFrames = len(frames)
        dataset.FrameIncrementPointer = 0x00182001
        dataset.PageNumberVector = list(range(1, len(frames) + 1))
    dataset.SamplesPerPixel = 3
    dataset.PhotometricInterpretation = "RGB"
    dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = frames[0].shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7
    dataset.PixelRepresentation = 0
    dataset.PixelData = b"".join(frame.tobytes() for frame in frames)


def _reference_sources(dataset: Dataset, request: ResultRequest) -> None:
    """Name the images that are shown (General Reference, PS3.3 C.12.4)."""
    shown: dict[str, Dataset] = {}
    for finding in request.reading.findings:
        for key in finding.key_images:
            plane, item = request.plane(key.index), Dataset()
            item.ReferencedSOPClassUID = plane.sop_class_uid
            item.ReferencedSOPInstanceUID = plane.sop_instance_uid
            shown.setdefault(plane.sop_instance_uid, item)
    dataset.SourceImageSequence = list(shown.values())


def pages_of(request: ResultRequest) -> list[Page]:
    """Pages in the order a reader wants them: the most important finding first, its key image first.

    Where there are too many, every finding keeps its first ones. What does not fit is told on a last page.
    """
    ranked = tuple(wording.by_importance(request.reading.findings))
    shown = [finding for finding in ranked if finding.evaluation is not Evaluation.ABSENT] or ranked[:1]
    every = [(place, page) for finding in shown for place, page in enumerate(_finding_pages(request, finding, ranked))]
    by_place = sorted(range(len(every)), key=lambda index: every[index][0])
    pages = [every[index][1] for index in sorted(by_place[:MAXIMUM_PAGES])]
    left_out = len(every) - len(pages)
    if left_out or len(ranked) > MAXIMUM_ROWS:
        pages += _overview(request, ranked, left_out)
    return [replace(page, number=number, pages=len(pages)) for number, page in enumerate(pages, 1)]


def _finding_pages(request: ResultRequest, finding: Finding, ranked: tuple[Finding, ...]) -> list[Page]:
    """Each key image with and without heat; of an absent finding only the first, beside what was looked for."""
    keys = finding.key_images if finding.evaluation is not Evaluation.ABSENT else finding.key_images[:1]
    pages = []
    for number, key in enumerate(keys, 1):
        title = "Key image" if len(keys) == 1 else f"Key image {number} of {len(keys)}"
        panel = _panel(request, key.index, title)
        beside = _statement(request, finding, ranked) if key.heat_map is None else _heat_panel(panel, key)
        pages.append(_page(request, finding, ranked, panel, beside, (key.index,)))
    if finding.key_tiles:
        places = places_panel(_panel(request, finding.key_index, ""), request.stack, finding)
        pages.append(_page(request, finding, ranked, tiles_panel(finding), places, ()))
    return pages


def _overview(request: ResultRequest, ranked: tuple[Finding, ...], left_out: int) -> list[Page]:
    """Every finding in words, in two columns, and how much is not shown."""
    lines = [f"{wording.headline(finding)}, {wording.probability_text(finding)}" for finding in ranked]
    if left_out:
        lines.append(f"{left_out} further key images are not shown here.")
    columns = [Statement(tuple(lines[start : start + _LINES])) for start in range(0, len(lines), _LINES)]
    columns += [Statement(())] * (len(columns) % 2)
    pairs = zip(columns[::2], columns[1::2], strict=True)
    return [_page(request, ranked[0], ranked, left, right, ()) for left, right in pairs]


def _page(
    request: ResultRequest,
    finding: Finding,
    ranked: tuple[Finding, ...],
    left: Panel | Statement,
    right: Panel | Statement,
    marked: tuple[int, ...],
) -> Page:
    profile = None
    if len(request.stack.planes) > 1:
        profile = Profile(
            finding.image_probabilities,
            finding.operating_point.threshold,
            marked,
            stack_ends(request.stack),
            finding.evaluation,
        )
    reading = request.reading
    # The title comes last, since what does not fit is cut.
    footer = f"Model {wording.model_text(reading)}   {request.provenance(_KIND).date_text}   {reading.manifest.title}"
    return Page(finding, ranked, left, right, profile, _details(finding), footer)


def _panel(request: ResultRequest, index: int, title: str) -> Panel:
    plane, source = request.plane(index), request.source(index)
    size = fitted_size(plane, PANEL, PANEL)
    shown = display_image(request.stack, index, request.reading.manifest.input.window)
    return Panel(
        shown.resize(size, Image.Resampling.LANCZOS), title, letters_of(plane, source), _captions(request, index)
    )


def _heat_panel(panel: Panel, key: KeyImage) -> Panel:
    heat = key.heat_map if key.heat_map is not None else np.zeros((1, 1), np.float32)
    scale = panel.image.width / heat.shape[1], panel.image.height / heat.shape[0]
    outline = key.region and tuple((column * scale[0], row * scale[1]) for column, row in key.region)
    shown = with_heat(panel.image, heat)
    return replace(panel, image=shown, title="Where the model looked", outline=outline, legend=True, captions=())


def _captions(request: ResultRequest, index: int) -> tuple[str, ...]:
    """Which image this is, where it lies, and its window."""
    plane, source, window = request.plane(index), request.source(index), request.reading.manifest.input.window
    if request.stack.slide is not None:
        return (slide_caption(request.stack),)
    if plane.frame_number is not None:
        image = f"Frame {plane.frame_number}"
    else:
        image = f"Image {source.get('InstanceNumber') or index + 1}"
    place = [image]
    if position := position_text(plane):
        place.append(position)
    if not request.stack.hounsfield:
        return (", ".join(place),)
    shown = f"W {window.width:g}  L {window.center:g} HU" if window is not None else "W 400  L 40 HU"
    return (", ".join(place), shown)


def _statement(request: ResultRequest, finding: Finding, ranked: tuple[Finding, ...]) -> Statement:
    """What is said where there is no heat map to show."""
    if finding.evaluation is not Evaluation.ABSENT:
        lines = [wording.sentence(finding), "", "The model marks no region for this finding."]
    else:
        lines = ["No finding reaches its threshold.", "", "Looked for:"]
        lines += [f"{other.label}, probability {wording.probability_text(other)}" for other in ranked]
    lines += ["", _coverage(request), *request.stack.notes, *request.reading.notes]
    return Statement(tuple(lines))


def _coverage(request: ResultRequest) -> str:
    """What the model has seen: ``Read: 98 slices, z -60.5 mm to z 133.5 mm``."""
    planes = request.stack.planes
    if request.stack.slide is not None:
        return slide_caption(request.stack)
    if len(planes) == 1:
        return "Read: one image"
    ends = [position_text(plane) for plane in (planes[0], planes[-1])]
    return f"Read: {len(planes)} slices" + (f", {ends[0]} to {ends[1]}" if all(ends) else "")


def _details(finding: Finding) -> tuple[str, ...]:
    """Where the finding lies and how its operating point did on validation."""
    point = finding.operating_point
    lines = [f"Site: {wording.site_text(finding)}"]
    performance = []
    if point.recall is not None:
        performance.append(f"sensitivity {wording.percent(point.recall)}")
    if point.specificity is not None:
        performance.append(f"specificity {wording.percent(point.specificity)}")
    if performance:
        lines.append(f"At this threshold on validation: {', '.join(performance)}")
    return tuple(lines)
