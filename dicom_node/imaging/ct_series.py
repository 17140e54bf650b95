"""CT series, classic or Enhanced multi-frame, to a stack in Hounsfield units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dicom_node.domain import FloatArray, ImagePlane, ImageStack, NotApplicable
from dicom_node.imaging.ct_slices import CtFile, CtSlice, read_slices
from dicom_node.imaging.ct_stacking import gap_notes, stack_slices
from dicom_node.imaging.decoding import decode_frames
from dicom_node.imaging.errors import UnreadableImage, UnreadableSeries, left_out_sentences
from dicom_node.imaging.greyscale import padding_mask

AIR = -1024.0
"""Hounsfield units given to padding, and the least that is handed on (below it there is nothing in a patient)."""

MAXIMUM_VOXELS = 1_500_000_000
"""6 GB as float32: twice what a whole-body scan at 0.5 mm has."""


def read_ct_series(paths: Sequence[Path]) -> ImageStack:
    """Read the slices of one series, ordered along the slice normal.

    A file that cannot be decoded is left out with a note that names its SOP Instance UID; so are localizers,
    duplicates, images of another size and a second acquisition of the same positions. Gaps are noted.

    Returns:
        Pixels float32 (S, H, W) in Hounsfield units, padding as air.

    Raises:
        NotApplicable: the images do not make one stack in Hounsfield units; the text says why.
        UnreadableSeries: none of the files can be decoded.
    """
    if not paths:
        raise NotApplicable("The series has no images.")
    slices, problems = _read_headers(paths)
    if not slices:
        raise UnreadableSeries(problems)
    stacking = stack_slices(slices)
    pixels, read, undecodable = _decode(stacking.slices)
    problems += undecodable
    if not read:
        raise UnreadableSeries(problems)
    notes = *left_out_sentences(problems), *stacking.notes, *gap_notes([s.height for s in read])
    return ImageStack(pixels=pixels, planes=tuple(_plane(s) for s in read), hounsfield=True, notes=notes)


def _read_headers(paths: Sequence[Path]) -> tuple[list[CtSlice], list[UnreadableImage]]:
    slices: list[CtSlice] = []
    problems: list[UnreadableImage] = []
    for path in paths:
        try:
            slices.extend(read_slices(path))
        except UnreadableImage as problem:
            problems.append(problem)
    return slices, problems


def _decode(slices: Sequence[CtSlice]) -> tuple[FloatArray, list[CtSlice], list[UnreadableImage]]:
    """Decode file by file into one array; slices that fail leave no trace in it."""
    rows, columns = slices[0].rows, slices[0].columns
    if len(slices) * rows * columns > MAXIMUM_VOXELS:
        raise NotApplicable(f"{len(slices)} images of {rows} x {columns} pixels are more than the node reads.")
    pixels = np.empty((len(slices), rows, columns), dtype=np.float32)
    read: list[int] = []
    problems: list[UnreadableImage] = []
    for file, indices in _by_file(slices).items():
        frames = [slices[index].frame_index for index in indices]
        try:
            for index, stored in zip(indices, decode_frames(file.path, file.header, frames), strict=True):
                _put_hounsfield(pixels[index], stored, slices[index])
                read.append(index)
        except UnreadableImage as problem:
            problems.append(problem)
    if len(read) < len(slices):
        read.sort()
        pixels = pixels[read]
    return pixels, [slices[index] for index in sorted(read)], problems


def _by_file(slices: Sequence[CtSlice]) -> dict[CtFile, list[int]]:
    files: dict[CtFile, list[int]] = defaultdict(list)
    for index, ct_slice in enumerate(slices):
        files[ct_slice.file].append(index)
    return files


def _put_hounsfield(pixels: FloatArray, stored: npt.NDArray[Any], ct_slice: CtSlice) -> None:
    """Rescale stored values (PS3.3 C.11.1.1.2); slope and intercept were checked when the slice was stacked."""
    np.multiply(stored, np.float32(ct_slice.slope or 0.0), out=pixels, dtype=np.float32)
    pixels += np.float32(ct_slice.intercept or 0.0)
    padding = padding_mask(stored, ct_slice.file.header)
    if padding is not None:
        pixels[padding] = AIR
    np.maximum(pixels, np.float32(AIR), out=pixels)


def _plane(ct_slice: CtSlice) -> ImagePlane:
    spacing = ct_slice.pixel_spacing
    return ImagePlane(
        sop_instance_uid=ct_slice.file.sop_instance_uid,
        sop_class_uid=str(ct_slice.file.header.get("SOPClassUID", "")),
        rows=ct_slice.rows,
        columns=ct_slice.columns,
        frame_number=ct_slice.frame_number,
        position=ct_slice.position,
        orientation=ct_slice.orientation,
        pixel_spacing=spacing,
        pixel_aspect=1.0 if spacing is None else spacing[0] / spacing[1],
    )
