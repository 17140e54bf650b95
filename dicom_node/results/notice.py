"""A short report or capture that says why a study has no result, for sites that want to be told in the PACS."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    MeasurementsAndQualitativeEvaluations,
    SourceImageForMeasurementGroup,
    TrackingIdentifier,
)
from pydicom import Dataset

from dicom_node import __version__
from dicom_node.domain import MANUFACTURER, AnalysisIdentity, ModelIdentity, ResultKind, StudyState
from dicom_node.results.header import Provenance, complete
from dicom_node.results.identity import ResultIdentity
from dicom_node.results.options import ResultOptions
from dicom_node.results.page import render_notice
from dicom_node.results.secondary_capture import capture_of
from dicom_node.results.structured_report import report_of

_TITLE = "No AI result"
_HEADINGS = {
    StudyState.NOT_APPLICABLE: "No AI result: not applicable",
    StudyState.FAILED: "No AI result: the analysis failed",
}
_NOT_PERFORMED = CodedConcept("262008008", "SCT", "Not performed")
# No model has read the study, so that the node itself stands where the model is named.
_NODE = ModelIdentity(MANUFACTURER, __version__, "none")


def build_notice(
    analysis: AnalysisIdentity,
    state: StudyState,
    reason: str,
    sources: Sequence[Dataset],
    options: ResultOptions,
) -> list[tuple[ResultKind, Dataset]]:
    """Say in the study why it has no result: a report, a capture, or both, as ``options.kinds`` asks.

    ``sources`` are headers of one series of the study, at least one; ``reason`` is a sentence for the reader.

    Raises:
        ValueError: ``state`` is neither not applicable nor failed.
    """
    if state not in _HEADINGS:
        raise ValueError(f"a study that is {state.value} has no notice")
    objects: list[tuple[ResultKind, Dataset]] = []
    for kind in options.kinds:
        provenance = _provenance(analysis, state, reason, sources[0], options, kind)
        if kind is ResultKind.STRUCTURED_REPORT:
            objects.append((kind, _report(provenance, state, reason, sources)))
        elif kind is ResultKind.SECONDARY_CAPTURE:
            objects.append((kind, _capture(provenance, state, reason)))
    return objects


def _provenance(
    analysis: AnalysisIdentity,
    state: StudyState,
    reason: str,
    source: Dataset,
    options: ResultOptions,
    kind: ResultKind,
) -> Provenance:
    text = f"{_HEADINGS[state]}. {reason}"
    # A second attempt may end for another reason, which makes it another object.
    variant = hashlib.sha256(f"{options.variant(kind)}\n{text}".encode()).hexdigest()
    identity = ResultIdentity(
        analysis.study_instance_uid,
        analysis.input_digest,
        _NODE,
        str(source.SeriesInstanceUID),
        variant=variant,
    )
    return Provenance(
        source,
        identity,
        options,
        _TITLE,
        f"no result, {state.value}",
        analysis.created_at,
        (text, *options.descriptions.values()),
    )


def _report(provenance: Provenance, state: StudyState, reason: str, sources: Sequence[Dataset]) -> Dataset:
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=provenance.identity.tracking_uid(0), identifier=f"{_HEADINGS[state]}. {reason}"
        ),
        finding_type=_NOT_PERFORMED,
        algorithm_id=AlgorithmIdentification(name=MANUFACTURER, version=__version__, manufacturer=MANUFACTURER),
        source_images=[
            SourceImageForMeasurementGroup(str(provenance.source.SOPClassUID), str(provenance.source.SOPInstanceUID))
        ],
    )
    dataset = report_of([group], provenance, sources)
    return complete(dataset, provenance, ResultKind.STRUCTURED_REPORT)


def _capture(provenance: Provenance, state: StudyState, reason: str) -> Dataset:
    footer = f"{provenance.model_text}   {provenance.date_text}"
    dataset = capture_of([render_notice(_HEADINGS[state], [reason], footer)])
    dataset.DerivationDescription = _HEADINGS[state]
    dataset.ImageComments = reason
    return complete(dataset, provenance, ResultKind.SECONDARY_CAPTURE)
