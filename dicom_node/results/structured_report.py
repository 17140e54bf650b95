"""The structured report: Comprehensive 3D SR, TID 1500 (PS3.16), as IHE AI Results describes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    Comprehensive3DSR,
    ContainerContentItem,
    ContentSequence,
    CoordinatesForMeasurement,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    SourceImageForRegion,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage, generate_uid

from dicom_node.domain import MANUFACTURER, Finding, FloatArray, ResultKind
from dicom_node.results import concepts, slide_region, wording
from dicom_node.results.header import Provenance, complete, patient_and_study
from dicom_node.results.identity import device_uid
from dicom_node.results.request import ResultRequest

MAXIMUM_LIBRARY_IMAGES = 20

Group = PlanarROIMeasurementsAndQualitativeEvaluations | MeasurementsAndQualitativeEvaluations

_KIND = ResultKind.STRUCTURED_REPORT


def warm_up() -> None:
    """Let highdicom read its tables of the standard now: half a second that the first study need not wait."""
    image = SourceImageForRegion(CTImageStorage, generate_uid(entropy_srcs=["warm-up"]))
    ImageRegion("POINT", np.zeros((1, 2)), image)


def structured_report(request: ResultRequest) -> Dataset:
    """The report of one reading: a measurement group for each finding, present or not."""
    provenance = request.provenance(_KIND)
    groups = [_group(request, finding) for finding in wording.by_importance(request.reading.findings)]
    dataset = report_of(groups, provenance, request.sources, image_library(request))
    _name_predecessor(dataset, request)
    dataset.CodingSchemeIdentificationSequence = [_private_scheme()]
    return complete(dataset, provenance, _KIND)


def report_of(
    groups: Sequence[Group],
    provenance: Provenance,
    sources: Sequence[Dataset],
    library: ContainerContentItem | None = None,
) -> Dataset:
    """A complete, unverified measurement report of ``groups`` with all ``sources`` in evidence."""
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=_observer(provenance)),
        procedure_reported=concepts.procedure_reported(provenance.source),
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    if library is not None:
        # TID 1500 wants the library before the measurements, which highdicom has put last.
        report[0].ContentSequence.insert(len(report[0].ContentSequence) - 1, library)
    dataset = Comprehensive3DSR(
        evidence=_evidence(sources),
        content=report[0],
        series_instance_uid=provenance.identity.result_series_uid(_KIND),
        series_number=provenance.options.series_number(_KIND),
        sop_instance_uid=provenance.identity.sop_instance_uid(_KIND),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    _separate_containers(dataset)
    return dataset


def _observer(provenance: Provenance) -> ObserverContext:
    """The model as a device observer (TID 1004); its UID changes with the weights."""
    model = provenance.identity.model
    return ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=device_uid(model),
            name=provenance.model_text,
            manufacturer_name=MANUFACTURER,
            model_name=provenance.title,
            serial_number=model.weights_digest,
        ),
    )


def _group(request: ResultRequest, finding: Finding) -> Group:
    """TID 1410 with the region, or TID 1501 where there is none to draw.

    OHIF shows a group only where it has coordinates, so the probability of a finding without a region is
    inferred from a mark at the corner of the key image. PixelMed takes all groups of a report for one template:
    next to a finding with a region, that mark is a region. So it is on slides, where OHIF fails to open a study whose
    report has a group without a region.
    """
    source = _region_source(request, finding)
    content: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(
            uid=request.identity(_KIND).tracking_uid(finding.number), identifier=_tracking_identifier(request, finding)
        ),
        "finding_type": concepts.concept(finding.code),
        "finding_sites": [_site(finding)],
        "algorithm_id": _algorithm(request, finding),
        "qualitative_evaluations": [QualitativeEvaluation(concepts.PRESENCE, concepts.EVALUATIONS[finding.evaluation])],
    }
    threshold = Measurement(
        concepts.threshold_of(finding), _percentage(finding.operating_point.threshold), concepts.PERCENT
    )
    outline = _outline(request, finding)
    on_slide = request.stack.slide is not None
    if on_slide or any(other.region is not None for other in request.reading.findings):
        return PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_region=slide_region.region(request, finding, outline)
            if on_slide
            else ImageRegion("POLYLINE", outline, source),
            measurements=[_probability(finding, None), threshold],
            **content,
        )
    return MeasurementsAndQualitativeEvaluations(
        measurements=[_probability(finding, CoordinatesForMeasurement("POLYLINE", outline, source)), threshold],
        **content,
    )


def _tracking_identifier(request: ResultRequest, finding: Finding) -> str:
    """The whole answer, since viewers show it as the name of the region."""
    sentence = wording.sentence(finding)
    if request.stack.slide is None:
        return sentence
    # OHIF's microscopy mode takes what stands in parentheses here for JSON, and fails to open the study.
    return sentence.replace(" (", ", ").replace("(", "").replace(")", "")


def _outline(request: ResultRequest, finding: Finding) -> FloatArray:
    """The region on the pixels of the key image, (N, 2), or the mark where there is none."""
    if finding.region is None:
        return _corner_mark(request, finding)
    on_slide = slide_region.on_pixel_matrix(request, finding) if request.stack.slide is not None else None
    return np.asarray(finding.region, np.float32) if on_slide is None else on_slide


def _probability(finding: Finding, coordinates: CoordinatesForMeasurement | None) -> Measurement:
    return Measurement(
        concepts.probability_of(finding),
        _percentage(finding.probability),
        concepts.PERCENT,
        derivation=concepts.PROBABILITY,
        referenced_coordinates=None if coordinates is None else [coordinates],
    )


def _percentage(fraction: float) -> float:
    """``fraction`` in percent, without the digits that only binary arithmetic puts there."""
    return round(100 * fraction, 4)


def _corner_mark(request: ResultRequest, finding: Finding) -> FloatArray:
    """A short bracket, (7, 2), at the upper left corner of the key image, where viewers put the label beside it.

    It is drawn there and back, hence closed. Each finding has a row of its own, so that labels on one image do
    not cover one another.
    """
    plane = request.plane(finding.key_index)
    row = (finding.number - 1) % 8
    left, right = 0.02 * plane.columns, 0.03 * plane.columns
    # Below what viewers write into the corner themselves.
    top, bottom = (0.13 + 0.10 * row) * plane.rows, (0.18 + 0.10 * row) * plane.rows
    there = [[right, top], [left, top], [left, bottom], [right, bottom]]
    return np.array([*there, *there[-2::-1]], dtype=np.float32)


def _region_source(request: ResultRequest, finding: Finding) -> SourceImageForRegion:
    plane = request.plane(finding.key_index)
    return SourceImageForRegion(
        plane.sop_class_uid, plane.sop_instance_uid, None if plane.frame_number is None else [plane.frame_number]
    )


def _site(finding: Finding) -> FindingSite:
    laterality = None if finding.laterality is None else concepts.LATERALITIES[finding.laterality]
    return FindingSite(concepts.concept(finding.site), laterality=laterality)


def _algorithm(request: ResultRequest, finding: Finding) -> AlgorithmIdentification:
    """TID 4019: name, version and the parameters that the answer depends on."""
    reading = request.reading
    parameters = [
        f"Weights SHA-256: {reading.model.weights_digest}",
        f"Operating point: {wording.operating_point_text(finding)}",
    ]
    if (window := reading.manifest.input.window) is not None:
        parameters.append(f"Window: center {window.center:g} HU, width {window.width:g} HU")
    parameters += [f"Note: {note}" for note in (*request.stack.notes, *reading.notes)]
    return AlgorithmIdentification(
        name=reading.model.name, version=reading.model.version, parameters=parameters, manufacturer=MANUFACTURER
    )


def image_library(request: ResultRequest) -> ContainerContentItem:
    """The images that the findings rest on (TID 1600).

    Only those: a library of a whole CT costs seconds and hundreds of kilobytes, and the evidence sequence names
    all of them anyway.
    """
    indices: dict[int, None] = {}
    for finding in wording.by_importance(request.reading.findings):
        indices |= dict.fromkeys(key.index for key in finding.key_images)
    group = ContainerContentItem(concepts.IMAGE_LIBRARY_GROUP, False, relationship_type="CONTAINS")
    group.ContentSequence = ContentSequence(
        [
            CodeContentItem(concepts.MODALITY, _modality(request.sources[0]), relationship_type="HAS ACQ CONTEXT"),
            *(_library_image(request, index) for index in list(indices)[:MAXIMUM_LIBRARY_IMAGES]),
        ]
    )
    library = ContainerContentItem(concepts.IMAGE_LIBRARY, False, template_id="1600", relationship_type="CONTAINS")
    library.ContentSequence = ContentSequence([group])
    return library


def _library_image(request: ResultRequest, index: int) -> ImageContentItem:
    plane = request.plane(index)
    return ImageContentItem(
        concepts.SOURCE,
        plane.sop_class_uid,
        plane.sop_instance_uid,
        referenced_frame_numbers=plane.frame_number,
        relationship_type="CONTAINS",
    )


def _modality(source: Dataset) -> CodedConcept:
    """The acquisition modality (CID 29) by its own code; an image that states none is "other"."""
    known = {code.value: code for code in (getattr(codes.cid29, name) for name in codes.cid29.dir())}
    code = known.get(str(source.get("Modality", "")))
    return CodedConcept("OT", "DCM", "Other Modality") if code is None else CodedConcept.from_code(code)


def _evidence(sources: Sequence[Dataset]) -> list[Dataset]:
    """References to all sources; highdicom takes patient and study from the first, ours are put in at the end.

    The name is kept from highdicom, which would repeat an unusual one in a warning.
    """
    references = []
    for source in sources:
        reference = Dataset()
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"):
            setattr(reference, keyword, source[keyword].value)
        references.append(reference)
    references[0].update(patient_and_study(sources[0]))
    references[0].PatientName = None
    return references


def _separate_containers(dataset: Dataset) -> None:
    # highdicom writes CONTINUOUS, with which dsr2html, Weasis and others leave the labels out.
    pending: list[Dataset] = [dataset]
    while pending:
        item = pending.pop()
        if item.ValueType == "CONTAINER":
            item.ContinuityOfContent = "SEPARATE"
        pending.extend(item.get("ContentSequence", ()))


def _name_predecessor(dataset: Dataset, request: ResultRequest) -> None:
    """Name the report that this one supersedes (PS3.3 C.17.2): the same question of the earlier input."""
    digest = request.analysis.predecessor_digest
    if digest is None:
        return
    predecessor = request.identity(_KIND).superseded(digest)
    instance, series, study = Dataset(), Dataset(), Dataset()
    instance.ReferencedSOPClassUID = dataset.SOPClassUID
    instance.ReferencedSOPInstanceUID = predecessor.sop_instance_uid(_KIND)
    series.SeriesInstanceUID = predecessor.result_series_uid(_KIND)
    series.ReferencedSOPSequence = [instance]
    study.StudyInstanceUID = request.analysis.study_instance_uid
    study.ReferencedSeriesSequence = [series]
    dataset.PredecessorDocumentsSequence = [study]


def _private_scheme() -> Dataset:
    item = Dataset()
    item.CodingSchemeDesignator = concepts.PRIVATE_SCHEME
    item.CodingSchemeName = concepts.PRIVATE_SCHEME_NAME
    item.CodingSchemeResponsibleOrganization = MANUFACTURER
    return item
