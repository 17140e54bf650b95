"""One series through imaging, inference and results, in memory: what the workflow and the offline command share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset

from dicom_node.domain import (
    AnalysisIdentity,
    ImageStack,
    Instance,
    NotApplicable,
    Reading,
    ResultKind,
    SeriesDecision,
    StudyState,
)
from dicom_node.imaging.errors import UnreadableImage, left_out_sentences
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.reader import ModelReader
from dicom_node.part10 import read_header
from dicom_node.results.build import build_results
from dicom_node.results.options import ResultOptions


@dataclass(frozen=True, slots=True, eq=False)
class MadeObject:
    """A result object before it is written; ``variant`` tells apart what different destinations are sent."""

    kind: ResultKind
    variant: str
    dataset: Dataset


@dataclass(frozen=True, slots=True, eq=False)
class StackReading:
    """What a model said of one stack of a series, and what was made of it; ``stack_number`` counts from 1."""

    reading: Reading
    stack: ImageStack
    stack_number: int
    objects: tuple[MadeObject, ...]


@dataclass(frozen=True, slots=True, eq=False)
class SeriesOutcome:
    """How the reading of one series ended; ``problems`` are of broken files, ``not_applicable`` of unfit images."""

    readings: tuple[StackReading, ...]
    not_applicable: tuple[str, ...]
    problems: tuple[str, ...]


def read_series(
    instances: Sequence[Instance],
    reader: ModelReader,
    analysis: AnalysisIdentity,
    options: Sequence[ResultOptions],
) -> SeriesOutcome:
    """Decode the instances of one series, let one model read them, and make the objects that anybody wants."""
    decoded = read_stacks(reader.bundle.manifest.kind, [instance.path for instance in instances])
    paths = {instance.sop_instance_uid: instance.path for instance in instances}
    readings: list[StackReading] = []
    unfit = list(decoded.not_applicable)
    problems = list(decoded.undecodable)
    for stack_number, stack in enumerate(decoded.stacks, start=1):
        try:
            reading = reader.read(stack, instances[0].series_instance_uid)
        except NotApplicable as refusal:
            unfit.append(str(refusal))
            continue
        except UnreadableImage as problem:
            problems += left_out_sentences([problem])
            continue
        problems += stack.notes
        sources = [read_header(paths[uid]) for uid in stack.sop_instance_uids]
        objects = _objects(analysis, reading, stack, sources, options, stack_number)
        readings.append(StackReading(reading, stack, stack_number, objects))
    return SeriesOutcome(tuple(readings), tuple(unfit), tuple(problems))


def _objects(
    analysis: AnalysisIdentity,
    reading: Reading,
    stack: ImageStack,
    sources: Sequence[Dataset],
    options: Sequence[ResultOptions],
    stack_number: int,
) -> tuple[MadeObject, ...]:
    """Each object once, however many destinations want it."""
    made: dict[str, MadeObject] = {}
    for wanted in options:
        for kind, dataset in build_results(analysis, reading, stack, sources, wanted, stack_number=stack_number):
            made.setdefault(dataset.SOPInstanceUID, MadeObject(kind, wanted.variant(kind), dataset))
    return tuple(made.values())


def conclude(
    decisions: Sequence[SeriesDecision], results: int, not_applicable: Sequence[str], problems: Sequence[str]
) -> tuple[StudyState, str]:
    """The state of an analysis once every series is through, and the reason in words.

    With at least one result the study is to be delivered, whatever else went wrong. Without one it has failed if
    something went wrong, else it was not applicable: no image was what a model reads.
    """
    if results:
        return StudyState.DELIVERING, " ".join([*problems, *not_applicable])
    if problems:
        return StudyState.FAILED, " ".join([*problems, *not_applicable])
    if not_applicable:
        return StudyState.NOT_APPLICABLE, " ".join(not_applicable)
    if not decisions:
        return StudyState.NOT_APPLICABLE, "The study holds no images."
    reasons = dict.fromkeys(decision.reason for decision in decisions if decision.model is None)
    return StudyState.NOT_APPLICABLE, " ".join(reasons)
