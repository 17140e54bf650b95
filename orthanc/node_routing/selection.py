"""Which series of a study go to the node: never the node's own results, never what holds no images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from node_routing.settings import Rule

MANUFACTURER = "dicom-node"
"""Manufacturer (0008,0070) of every object that the node makes."""

_NOT_IMAGES = frozenset({"SR", "PR", "KO", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "REG", "DOC", "FID"})


@dataclass(frozen=True, slots=True)
class Series:
    """One series as Orthanc holds it: its main DICOM tags and the Orthanc identifiers of its instances."""

    identifier: str
    tags: Mapping[str, str]
    instances: tuple[str, ...]

    @property
    def is_result(self) -> bool:
        """Whether the node made this series."""
        return self.tags.get("Manufacturer", "").strip() == MANUFACTURER

    @property
    def holds_images(self) -> bool:
        """Whether a model could read this series at all."""
        return not self.is_result and self.tags.get("Modality", "") not in _NOT_IMAGES


@dataclass(frozen=True, slots=True)
class Study:
    """One study as Orthanc holds it; ``tags`` are the main DICOM tags of study and patient."""

    identifier: str
    study_instance_uid: str
    is_stable: bool
    tags: Mapping[str, str]
    series: tuple[Series, ...]
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Selection:
    """The series to send. ``digest`` tells whether the same images were sent before."""

    series: tuple[str, ...]
    images: int
    digest: str


def select_by_rules(study: Study, rules: Sequence[Rule]) -> Selection:
    """The series that a rule asks for."""
    return _selection(
        series
        for series in study.series
        if series.holds_images and any(_matches(rule, {**study.tags, **series.tags}) for rule in rules)
    )


def select_by_hand(study: Study) -> Selection:
    """Every series that holds images: who asks by hand has chosen the study, whatever the rules say."""
    return _selection(series for series in study.series if series.holds_images)


def _matches(rule: Rule, tags: Mapping[str, str]) -> bool:
    return tags.get("Modality", "") in rule.modalities and all(
        pattern.search(tags.get(tag, "")) for tag, pattern in rule.tags.items()
    )


def _selection(chosen: Iterable[Series]) -> Selection:
    series = sorted(chosen, key=lambda item: item.identifier)
    instances = sorted(instance for item in series for instance in item.instances)
    digest = hashlib.sha256("\n".join(instances).encode("ascii")).hexdigest()
    return Selection(tuple(item.identifier for item in series), len(instances), digest)
