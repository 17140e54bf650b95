"""Which slices of a CT series make one stack and in which order: decisions over headers, no pixels."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from dicom_node.domain import NotApplicable
from dicom_node.geometry import RowAndColumn, angle_degrees, classify, normal
from dicom_node.imaging.ct_slices import CtSlice
from dicom_node.imaging.decoding import first_value

SAME_POSITION_MM = 0.05
SAME_ORIENTATION_DEGREES = 1.0
LARGEST_TILT_DEGREES = 1.0
LARGEST_SHIFT_MM = 1.0
"""Within the plane, from the first slice to the last; less is rounding, whatever angle it makes of a short stack."""

GAP_FACTOR = 1.5
"""A step between slices larger than this times the median step is a gap."""

_HOUNSFIELD_DERIVATIONS = frozenset({"", "NONE", "MAXIMUM", "MEAN", "MEDIAN", "MINIMUM", "RESAMPLED", "FILTERED"})
"""Derived pixel contrasts of Enhanced CT (Image Type value 4, PS3.3 C.8.16.1.4) that are still Hounsfield units."""


@dataclass(frozen=True, slots=True)
class Stacking:
    """Slices in the order of the stack, and sentences about what was left out."""

    slices: tuple[CtSlice, ...]
    notes: tuple[str, ...]


def stack_slices(slices: Sequence[CtSlice]) -> Stacking:
    """Choose the slices that make one stack, ordered along the slice normal.

    Left out with a note: localizers, slices without place, other sizes, a second acquisition over the same
    positions, duplicates.

    Raises:
        NotApplicable: values that are not Hounsfield units, mixed orientations, a tilted gantry, nothing left.
    """
    notes: list[str] = []
    kept = _without(slices, notes, lambda s: "LOCALIZER" not in s.image_type, "{} left out: localizer.")
    _refuse_other_than_hounsfield(kept)
    kept = _without(
        kept,
        notes,
        lambda s: s.position is not None and s.orientation is not None,
        "{} left out: Image Position (Patient) or Image Orientation (Patient) is missing or impossible.",
    )
    if not kept:
        raise NotApplicable("No slice of the series can be placed in the patient. " + " ".join(notes))
    _refuse_mixed_orientations(kept)
    kept = _largest_grid(kept, notes)
    kept = sorted(kept, key=_order)
    kept = _one_acquisition(kept, notes)
    kept = _without_duplicates(kept, notes)
    _refuse_tilt(kept)
    return Stacking(tuple(kept), tuple(notes))


def gap_notes(heights: Sequence[float]) -> tuple[str, ...]:
    """Name the gaps between slices, whose distances along the normal (mm) are given in ascending order."""
    if len(heights) < 3:
        return ()
    steps = np.diff(np.asarray(heights, dtype=np.float64))
    usual = float(np.percentile(steps, 50, method="lower"))  # of few steps, a gap must not be half of what is usual
    gaps = steps[steps > GAP_FACTOR * usual]
    if gaps.size == 0:
        return ()
    sizes = ", ".join(f"{size:.1f} mm" for size in sorted(gaps, reverse=True)[:5])
    count = "A gap" if gaps.size == 1 else f"{gaps.size} gaps"
    return (f"{count} between slices ({sizes}), where slices are usually {usual:.1f} mm apart: images may be missing.",)


def _order(ct_slice: CtSlice) -> tuple[float, str, float, int]:
    return (
        ct_slice.height,
        _acquisition("AcquisitionNumber", ct_slice).zfill(12),
        ct_slice.instance_number,
        ct_slice.frame_index,
    )


def _acquisition(keyword: str, ct_slice: CtSlice) -> str:
    return dict(ct_slice.acquisition)[keyword]


def _without(
    slices: Iterable[CtSlice], notes: list[str], keep: Callable[[CtSlice], bool], sentence: str
) -> list[CtSlice]:
    kept, left_out = [], 0
    for ct_slice in slices:
        if keep(ct_slice):
            kept.append(ct_slice)
        else:
            left_out += 1
    if left_out:
        notes.append(sentence.format(_count(left_out, "image")))
    return kept


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _refuse_other_than_hounsfield(slices: Sequence[CtSlice]) -> None:
    for ct_slice in slices:
        if "PERFUSION" in ct_slice.image_type:
            raise NotApplicable(
                f"Image Type {_shown(ct_slice)}: a perfusion series, not CT images in Hounsfield units."
            )
        derivation = ct_slice.image_type[3] if len(ct_slice.image_type) > 3 else ""
        if ct_slice.frame_number is not None and derivation not in _HOUNSFIELD_DERIVATIONS:
            raise NotApplicable(f"Image Type {_shown(ct_slice)}: a computed map, not CT images in Hounsfield units.")
        if ct_slice.rescale_type != "HU":
            raise NotApplicable(f"Rescale Type is {ct_slice.rescale_type}, needs to be HU (Hounsfield units).")
        if ct_slice.slope is None or ct_slice.intercept is None:
            raise NotApplicable(
                "Rescale Slope or Rescale Intercept is missing: the pixel values are not known to be Hounsfield units."
            )
        if (first_value(ct_slice.file.header, "SamplesPerPixel") or 1) != 1:
            raise NotApplicable("The images are in colour: not CT images in Hounsfield units.")


def _shown(ct_slice: CtSlice) -> str:
    return "\\".join(ct_slice.image_type)


def _refuse_mixed_orientations(slices: Sequence[CtSlice]) -> None:
    orientations = [ct_slice.orientation for ct_slice in slices if ct_slice.orientation is not None]
    if any(not _is_same_orientation(orientations[0], other) for other in orientations):
        names = Counter(classify(orientation) for orientation in orientations)
        parts = ", ".join(f"{count} {name}" for name, count in names.most_common())
        raise NotApplicable(f"The series mixes orientations ({parts}): its images do not make one stack.")


def _is_same_orientation(first: RowAndColumn, second: RowAndColumn) -> bool:
    return (
        angle_degrees(first[:3], second[:3]) <= SAME_ORIENTATION_DEGREES
        and angle_degrees(first[3:], second[3:]) <= SAME_ORIENTATION_DEGREES
    )


def _largest_grid(slices: Sequence[CtSlice], notes: list[str]) -> list[CtSlice]:
    groups = _grouped(slices, lambda s: (s.rows, s.columns, _rounded(s.pixel_spacing)))
    largest = max(groups.values(), key=len)
    if len(groups) > 1:
        notes.append(
            f"{_count(len(slices) - len(largest), 'image')} left out: other size or pixel spacing than the"
            f" {len(largest)} that were read."
        )
    return largest


def _rounded(spacing: tuple[float, float] | None) -> tuple[float, ...] | None:
    return None if spacing is None else tuple(round(value, 3) for value in spacing)


def _grouped(slices: Iterable[CtSlice], key: Callable[[CtSlice], Hashable]) -> dict[Hashable, list[CtSlice]]:
    groups: dict[Hashable, list[CtSlice]] = defaultdict(list)
    for ct_slice in slices:
        groups[key(ct_slice)].append(ct_slice)
    return groups


def _one_acquisition(slices: list[CtSlice], notes: list[str]) -> list[CtSlice]:
    """Keep the largest of several acquisitions (phases, kernels, energies) that cover the same part of the patient.

    Parts that follow one another are kept: scanners number them as acquisitions of their own.
    """
    for keyword in dict(slices[0].acquisition):
        groups = sorted(_grouped(slices, partial(_acquisition, keyword)).values(), key=len, reverse=True)
        largest = groups[0]
        left_out = [group for group in groups[1:] if _covers(largest, group)]
        if left_out:
            count = sum(len(group) for group in left_out)
            notes.append(
                f"{_count(count, 'image')} left out: another acquisition of the same positions (other {keyword}"
                f" than the {_count(len(largest), 'image')} that were read)."
            )
            gone = {id(ct_slice) for group in left_out for ct_slice in group}
            slices = [ct_slice for ct_slice in slices if id(ct_slice) not in gone]
    return slices


def _covers(largest: Sequence[CtSlice], group: Sequence[CtSlice]) -> bool:
    """Say whether most slices of a group, of at least two, lie within the extent of the largest group."""
    if len(group) < 2:
        return False
    low, high = largest[0].height - SAME_POSITION_MM, largest[-1].height + SAME_POSITION_MM
    return sum(low <= ct_slice.height <= high for ct_slice in group) > len(group) / 2


def _without_duplicates(slices: Sequence[CtSlice], notes: list[str]) -> list[CtSlice]:
    kept: list[CtSlice] = []
    for ct_slice in slices:
        if not kept or ct_slice.height - kept[-1].height > SAME_POSITION_MM:
            kept.append(ct_slice)
    if len(kept) < len(slices):
        notes.append(f"{_count(len(slices) - len(kept), 'image')} left out: same position as one that was read.")
    return kept


def _refuse_tilt(slices: Sequence[CtSlice]) -> None:
    first, last = slices[0], slices[-1]
    if len(slices) < 2 or first.position is None or last.position is None or first.orientation is None:
        return
    across = normal(first.orientation)
    stacking = np.subtract(last.position, first.position)
    shift = float(np.linalg.norm(stacking - across * (stacking @ across)))
    tilt = angle_degrees(across.tolist(), stacking.tolist())
    if tilt > LARGEST_TILT_DEGREES and shift > LARGEST_SHIFT_MM:
        raise NotApplicable(
            f"The slices are tilted by {tilt:.0f} degrees against the direction they are stacked in (gantry tilt):"
            " the model reads only untilted stacks."
        )
