"""The rules put to the test: which model reads which series of a study that is held or described, and why not."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydicom import Dataset
from sqlalchemy.orm import Session

from dicom_node.archive.archive import load_study
from dicom_node.config import Config
from dicom_node.domain import SeriesDecision
from dicom_node.manifest import BundleManifest
from dicom_node.part10 import BROKEN
from dicom_node.stored_files import NotStored, StoredFiles
from dicom_node.studies.headers import SeriesHeaders, read_series_headers
from dicom_node.studies.selection import select_series

_MOST_IMAGES = 5000
_SERIES, _INSTANCES = "SeriesInstanceUID", "NumberOfSeriesRelatedInstances"


class NotDicomJson(Exception):
    """What was pasted is no DICOM JSON; the text says where it stops being one."""


@dataclass(frozen=True, slots=True)
class SeriesVerdict:
    """What one model makes of one series, or why no model reads it."""

    series_instance_uid: str
    series_number: str
    description: str
    modality: str
    images: int
    model: str | None
    reason: str


def held_study_verdicts(
    session: Session,
    config: Config,
    files: StoredFiles,
    study_instance_uid: str,
    manifests: Mapping[str, BundleManifest],
) -> tuple[SeriesVerdict, ...]:
    """Hold a study that was received against the rules as they are now; empty where it is not held, or damaged.

    Raises:
        OSError: it cannot be had now (``passing.passes``).
    """
    study = load_study(session, study_instance_uid, config.instances_folder)
    try:
        with files.at_hand(instance.path for instance in study.instances):
            return _verdicts([read_series_headers(series) for series in study.series], manifests)
    except NotStored:
        return ()


def header_verdicts(text: str, manifests: Mapping[str, BundleManifest]) -> tuple[SeriesVerdict, ...]:
    """Hold a study that was never sent against the rules.

    ``text`` is DICOM JSON (PS3.18 F): one object, or an array of them. One object stands for as many images as its
    Number of Series Related Instances (0020,1209) says, so that an answer to a query for series can be pasted.

    Raises:
        NotDicomJson: it is something else, or too much.
    """
    try:
        parsed = json.loads(text)
    except ValueError as error:
        raise NotDicomJson(f"The text is not JSON: {error}.") from None
    objects = parsed if isinstance(parsed, list) else [parsed]
    series: dict[str, list[Dataset]] = {}
    for number, item in enumerate(objects, start=1):
        dataset = _dataset(item, number)
        same = series.setdefault(str(dataset.get(_SERIES, "")), [])
        same += [dataset] * _images(dataset)
        if sum(map(len, series.values())) > _MOST_IMAGES:
            raise NotDicomJson(f"These are more than {_MOST_IMAGES} images: paste one header of each series.")
    if not series:
        raise NotDicomJson("The array is empty: there is no header to test.")
    return _verdicts([SeriesHeaders(uid, tuple(datasets)) for uid, datasets in series.items()], manifests)


def _dataset(item: Any, number: int) -> Dataset:
    if not isinstance(item, dict):
        raise NotDicomJson(f"Object {number} is not a DICOM JSON object, which has tags such as 00080060 for keys.")
    try:
        dataset = Dataset.from_json(item)
        _ = [element.value for element in dataset]
    except BROKEN as error:
        raise NotDicomJson(f"Object {number} is no DICOM JSON data set ({type(error).__name__}).") from None
    return dataset


def _images(dataset: Dataset) -> int:
    try:
        return min(max(1, int(dataset.get(_INSTANCES) or 1)), _MOST_IMAGES + 1)
    except (TypeError, ValueError):
        return 1


def _verdicts(study: Sequence[SeriesHeaders], manifests: Mapping[str, BundleManifest]) -> tuple[SeriesVerdict, ...]:
    headers = {series.series_instance_uid: series for series in study}
    return tuple(_verdict(decision, headers) for decision in select_series(study, manifests))


def _verdict(decision: SeriesDecision, headers: Mapping[str, SeriesHeaders]) -> SeriesVerdict:
    series = headers[decision.series_instance_uid]
    first = series.datasets[0] if series.datasets else Dataset()
    return SeriesVerdict(
        series_instance_uid=decision.series_instance_uid,
        series_number=str(first.get("SeriesNumber", "") or ""),
        description=str(first.get("SeriesDescription", "") or ""),
        modality=str(first.get("Modality", "") or ""),
        images=len(series.datasets) + len(series.unreadable),
        model=decision.model,
        reason=decision.reason,
    )
