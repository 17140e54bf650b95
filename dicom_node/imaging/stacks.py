"""The images of a series to the stacks that a model of a given kind reads."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dicom_node.domain import ImageStack, NotApplicable
from dicom_node.imaging.ct_series import read_ct_series
from dicom_node.imaging.errors import UnreadableImage, UnreadableSeries, left_out_sentences
from dicom_node.imaging.photograph import read_photograph
from dicom_node.imaging.radiograph import read_radiograph
from dicom_node.imaging.slide import read_slide
from dicom_node.imaging.slide_header import is_whole_slide
from dicom_node.manifest import ImageKind


@dataclass(frozen=True, slots=True, eq=False)
class StackRead:
    """What became of the files of one series.

    ``undecodable`` are sentences about files that are broken, ``not_applicable`` about images that are whole but
    not what a model of this kind reads. Where there is no stack, one of the two says why. A CT slice that was
    left out of a stack is told of in the stack's own notes.
    """

    stacks: tuple[ImageStack, ...] = ()
    undecodable: tuple[str, ...] = ()
    not_applicable: tuple[str, ...] = ()


def read_stacks(kind: ImageKind, paths: Sequence[Path]) -> StackRead:
    """Read the files of one series: a CT series or a slide is one stack, each other image is a stack of its own."""
    if kind is ImageKind.CT:
        return _read_whole(read_ct_series, paths)
    if kind is ImageKind.SLIDE and any(is_whole_slide(path) for path in paths):
        return _read_whole(read_slide, paths)
    read = read_photograph if kind is ImageKind.SLIDE else read_radiograph
    stacks: list[ImageStack] = []
    undecodable: list[UnreadableImage] = []
    not_applicable: list[str] = []
    for path in paths:
        try:
            stacks.append(read(path))
        except UnreadableImage as problem:
            undecodable.append(problem)
        except NotApplicable as refusal:
            not_applicable.append(str(refusal))
    return StackRead(tuple(stacks), left_out_sentences(undecodable), tuple(not_applicable))


def _read_whole(read: Callable[[Sequence[Path]], ImageStack], paths: Sequence[Path]) -> StackRead:
    try:
        return StackRead(stacks=(read(paths),))
    except UnreadableSeries as error:
        return StackRead(undecodable=left_out_sentences(error.problems))
    except NotApplicable as refusal:
        return StackRead(not_applicable=(str(refusal),))
