"""Which series of a study goes to which model, and for every series that goes to none, why: pure decisions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from pydicom import Dataset
from pydicom.uid import UID

from dicom_node.domain import SeriesDecision
from dicom_node.geometry import Orientation, classify, is_valid_orientation
from dicom_node.manifest import BundleManifest, Selection
from dicom_node.studies.attributes import attribute
from dicom_node.studies.conditions import why_not
from dicom_node.studies.headers import SeriesHeaders
from dicom_node.studies.never_analysed import why_never_analysed

NUMBER_OF_IMAGES = "number_of_images"
_NAMED = 10


@dataclass(frozen=True, slots=True)
class _Refusal:
    """A series that does not pass a model's rules, with the clause that says why."""

    series_instance_uid: str
    clause: str


@dataclass(frozen=True, slots=True, eq=False)
class _Candidate:
    """A series that passes a model's rules, with the images of it that do."""

    series_instance_uid: str
    datasets: tuple[Dataset, ...]
    left_out: tuple[str, ...]

    @property
    def number_of_images(self) -> int:
        return sum(_frames(dataset) for dataset in self.datasets)


def select_series(
    study: Sequence[SeriesHeaders], manifests: Mapping[str, BundleManifest]
) -> tuple[SeriesDecision, ...]:
    """Hold every series of a study against the rules of every model.

    Args:
        study: the series of one study with their headers.
        manifests: what each model reads, by the model's name.

    Returns:
        In the order of the series: one decision for each model that reads it, with the SOP Instance UIDs to read,
        or one decision without model whose reason says in words why it is not read.
    """
    images = {series.series_instance_uid: _images(series) for series in study}
    read: dict[str, list[SeriesDecision]] = defaultdict(list)
    refused: dict[str, list[str]] = defaultdict(list)
    for model, manifest in manifests.items():
        verdicts = [_hold_against(uid, datasets, manifest.selection) for uid, datasets in images.items() if datasets]
        for decision in _decisions_of(model, manifest, verdicts):
            if decision.model is None:
                refused[decision.series_instance_uid].append(decision.reason)
            else:
                read[decision.series_instance_uid].append(decision)
    decisions: list[SeriesDecision] = []
    for series in study:
        uid = series.series_instance_uid
        reason = " ".join(refused[uid] or ["No model is installed."]) if images[uid] else _why_no_image(series)
        unread = _unreadable(series)
        decisions.extend(
            replace(decision, reason=decision.reason + unread)
            for decision in read[uid] or [SeriesDecision(uid, None, reason)]
        )
    return tuple(decisions)


def _decisions_of(
    model: str, manifest: BundleManifest, verdicts: Sequence[_Candidate | _Refusal]
) -> Iterator[SeriesDecision]:
    """Say of every series whether one model reads it."""
    rules = manifest.selection
    candidates = _ranked([verdict for verdict in verdicts if isinstance(verdict, _Candidate)], rules.order)
    best = candidates[: rules.series_per_study] if manifest.enabled else []
    for verdict in verdicts:
        uid = verdict.series_instance_uid
        if not manifest.enabled:
            yield SeriesDecision(uid, None, f"Not read by {model}: the model is switched off.")
        elif isinstance(verdict, _Refusal):
            yield SeriesDecision(uid, None, f"Not read by {model}: {verdict.clause}.")
        elif verdict in best:
            yield _read_by(model, verdict)
        else:
            yield SeriesDecision(uid, None, f"Not read by {model}: {_outranked(verdict, best, rules.order)}.")


def _images(series: SeriesHeaders) -> tuple[Dataset, ...]:
    return tuple(dataset for dataset in series.datasets if why_never_analysed(dataset) is None)


def _why_no_image(series: SeriesHeaders) -> str:
    reasons = Counter(reason for dataset in series.datasets if (reason := why_never_analysed(dataset)))
    if reasons:
        return reasons.most_common(1)[0][0]
    return "It has no images." if not series.unreadable else "None of its files can be read."


def _unreadable(series: SeriesHeaders) -> str:
    """Name the files of a series whose headers are broken, up to ten."""
    if not series.unreadable:
        return ""
    count = len(series.unreadable)
    more = f" and {count - _NAMED} more" if count > _NAMED else ""
    return f" {_count(count, 'broken file', 'broken files')}: {', '.join(series.unreadable[:_NAMED])}{more}."


def _hold_against(uid: str, datasets: Sequence[Dataset], rules: Selection) -> _Candidate | _Refusal:
    """Find the images of a series that pass a model's rules, or say why there are not enough."""
    verdicts = [(dataset, _why_not_image(dataset, rules)) for dataset in datasets]
    passed = tuple(dataset for dataset, reason in verdicts if reason is None)
    reasons = tuple(reason for _, reason in verdicts if reason is not None)
    if not passed:
        return _Refusal(uid, _summary(reasons))
    disorientation = _why_not_orientation(passed, rules)
    if disorientation is not None:
        return _Refusal(uid, disorientation)
    candidate = _Candidate(uid, passed, reasons)
    if candidate.number_of_images < rules.minimum_images:
        counted = f"it has {_count(candidate.number_of_images)} to read, needs at least {rules.minimum_images}"
        return _Refusal(uid, f"{counted} ({_summary(reasons)})" if reasons else counted)
    return candidate


def _why_not_image(dataset: Dataset, rules: Selection) -> str | None:
    """Hold one image against SOP classes, excluded image types and conditions."""
    sop_class = UID(str(dataset.get("SOPClassUID", "")))
    if not {str(sop_class), sop_class.keyword} & set(rules.sop_classes):
        return f"SOPClassUID is {sop_class.name or 'missing'}, which the model does not read"
    excluded = {value.upper() for value in rules.excluded_image_types}
    for value in attribute(dataset, "ImageType").values:
        if value.upper() in excluded:
            return f"ImageType holds {value}, which is ruled out"
    return next((reason for condition in rules.conditions if (reason := why_not(condition, dataset))), None)


def _why_not_orientation(datasets: Sequence[Dataset], rules: Selection) -> str | None:
    if rules.orientation is None:
        return None
    orientations = Counter(orientation for dataset in datasets for orientation in _orientations(dataset))
    if set(orientations) == {rules.orientation}:
        return None
    names = " and ".join(name or "of unknown orientation" for name, _ in orientations.most_common())
    return f"its images are {names}, need to be {rules.orientation}"


def _orientations(dataset: Dataset) -> list[Orientation | None]:
    """The orientation of an image, or of each frame of a multi-frame one."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [None])[0]
    return [_orientation(frame, shared) for frame in frames] or [_orientation_of(dataset)]


def _orientation(frame: Dataset, shared: Dataset | None) -> Orientation | None:
    for groups in (frame, shared):
        planes = groups.get("PlaneOrientationSequence") if groups is not None else None
        if planes:
            return _orientation_of(planes[0])
    return None


def _orientation_of(dataset: Dataset) -> Orientation | None:
    values = attribute(dataset, "ImageOrientationPatient").numbers
    return classify(values) if is_valid_orientation(values) else None


def _ranked(candidates: Sequence[_Candidate], order: Sequence[str]) -> list[_Candidate]:
    """Sort best first; what ties by the stated order goes by series number, so that the choice is repeatable."""
    ranked = sorted(candidates, key=lambda candidate: candidate.series_instance_uid)
    for term in reversed((*order, "SeriesNumber")):
        ranks = [(_rank(candidate, term.removeprefix("-")), candidate) for candidate in ranked]
        known = [(rank, candidate) for rank, candidate in ranks if rank is not None]
        known.sort(key=lambda pair: pair[0], reverse=term.startswith("-"))
        ranked = [candidate for _, candidate in known] + [candidate for rank, candidate in ranks if rank is None]
    return ranked


def _rank(candidate: _Candidate, keyword: str) -> tuple[float, str] | None:
    """Numbers rank before text; None where the series does not say."""
    if keyword == NUMBER_OF_IMAGES:
        return float(candidate.number_of_images), ""
    found = attribute(candidate.datasets[0], keyword)
    if found.numbers:
        return found.numbers[0], ""
    return (math.inf, found.values[0]) if found.values else None


def _outranked(candidate: _Candidate, better: Sequence[_Candidate], order: Sequence[str]) -> str:
    """Say which series is read instead, and by what it comes first."""
    number = attribute(better[0].datasets[0], "SeriesNumber").values
    which = f"series {number[0]}" if number else f"series {better[0].series_instance_uid}"
    for term in order:
        keyword = term.removeprefix("-")
        if _rank(candidate, keyword) != _rank(better[-1], keyword):
            return (
                f"it passes, but {which} comes first ({keyword} {_shown(better[-1], keyword)}"
                f" against {_shown(candidate, keyword)})"
            )
    return f"it passes, but {which} is read, and the model reads {_count(len(better), 'series', 'series')} of a study"


def _shown(candidate: _Candidate, keyword: str) -> str:
    if keyword == NUMBER_OF_IMAGES:
        return str(candidate.number_of_images)
    found = attribute(candidate.datasets[0], keyword)
    return found.shown if found.values else "missing"


def _read_by(model: str, candidate: _Candidate) -> SeriesDecision:
    reason = f"Read by {model}: {_count(candidate.number_of_images)}."
    if candidate.left_out:
        reason += f" {_count(len(candidate.left_out))} left out: {_summary(candidate.left_out)}."
    uids = tuple(str(dataset.get("SOPInstanceUID", "")) for dataset in candidate.datasets)
    return SeriesDecision(candidate.series_instance_uid, model, reason, uids)


def _summary(reasons: Sequence[str]) -> str:
    """The commonest reason, and how many images have others."""
    (reason, count), *others = Counter(reasons).most_common()
    rest = len(reasons) - count
    return f"{reason} (other reasons for {rest} of {len(reasons)} images)" if others else reason


def _count(number: int, one: str = "image", many: str = "images") -> str:
    return f"{number} {one if number == 1 else many}"


def _frames(dataset: Dataset) -> int:
    numbers = attribute(dataset, "NumberOfFrames").numbers
    return max(1, int(numbers[0])) if numbers else 1
