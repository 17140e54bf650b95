"""The result objects of one reading, in the kinds that a destination wants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydicom import Dataset

from dicom_node.domain import AnalysisIdentity, ImageStack, Reading, ResultKind
from dicom_node.results.heat_map import parametric_maps, segmentations
from dicom_node.results.options import ResultOptions
from dicom_node.results.presentation_state import presentation_states
from dicom_node.results.request import ResultRequest
from dicom_node.results.secondary_capture import secondary_capture
from dicom_node.results.structured_report import structured_report

_BUILDERS: dict[ResultKind, Callable[[ResultRequest], list[Dataset]]] = {
    ResultKind.STRUCTURED_REPORT: lambda request: [structured_report(request)],
    ResultKind.SECONDARY_CAPTURE: lambda request: [secondary_capture(request)],
    ResultKind.PRESENTATION_STATE: presentation_states,
    ResultKind.PARAMETRIC_MAP: parametric_maps,
    ResultKind.SEGMENTATION: segmentations,
}

_KINDS_OF_SLIDES = (ResultKind.STRUCTURED_REPORT, ResultKind.SECONDARY_CAPTURE)
"""The others would have to be tiled like the slide; what its viewers show is the report's regions."""


def build_results(
    analysis: AnalysisIdentity,
    reading: Reading,
    stack: ImageStack,
    sources: Sequence[Dataset],
    options: ResultOptions | None = None,
    *,
    stack_number: int = 1,
) -> list[tuple[ResultKind, Dataset]]:
    """Make the objects of one reading; the same arguments make the same bytes.

    ``sources`` are the headers of the source instances, without pixels, in the order of the stack.
    ``stack_number`` counts the stacks that one model reads from one series, from 1.

    Raises:
        ValueError: the sources do not hold every image of the stack.
    """
    request = ResultRequest.of(analysis, reading, stack, sources, options or ResultOptions(), stack_number)
    kinds = [kind for kind in request.options.kinds if stack.slide is None or kind in _KINDS_OF_SLIDES]
    return [(kind, dataset) for kind in kinds for dataset in _BUILDERS[kind](request)]
