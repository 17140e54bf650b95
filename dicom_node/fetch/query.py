"""What is asked of a PACS, and which days a rule is about: decisions, no network."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from croniter import croniter
from pydicom.dataset import Dataset

from dicom_node.config import FetchRule

_RETURNED = ("StudyInstanceUID", "StudyDate", "ModalitiesInStudy", "NumberOfStudyRelatedInstances")


def study_query(matching: Mapping[str, str], day: date | None = None, modality: str = "") -> Dataset:
    """A C-FIND identifier at study level (PS3.4 C.6.2): studies of one day and modality that match the given keys."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = "STUDY"
    for keyword in _RETURNED:
        setattr(identifier, keyword, "" if keyword != "NumberOfStudyRelatedInstances" else None)
    if day is not None:
        identifier.StudyDate = f"{day:%Y%m%d}"
    identifier.ModalitiesInStudy = modality
    for keyword, value in matching.items():
        setattr(identifier, keyword, value)
    return identifier


def rule_queries(rule: FetchRule, at: datetime) -> list[Dataset]:
    """What a rule asks at ``at`` (local time): one query a modality, since a list of them matches by no standard."""
    day = at.date() - timedelta(days=rule.days_ago)
    return [study_query(rule.matching, day, modality) for modality in rule.modalities or ("",)]


def last_tick(rule: FetchRule, at: datetime) -> datetime:
    """When the rule was due last, at ``at`` or before (local time)."""
    tick: datetime = croniter(rule.at, at + timedelta(seconds=1)).get_prev(datetime)
    return tick
