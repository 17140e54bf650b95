"""Reads the node's structured reports the way any receiver can: by the concepts of TID 1500 (PS3.16)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.dataset import Dataset

MEASUREMENT_GROUP = "125007"
FINDING = "121071"
ALGORITHM_NAME = "111001"
PRESENCE = "705057003"


@dataclass(frozen=True, slots=True)
class ReportedFinding:
    """One measurement group of a report: who says so, of what, whether it is there, how probable it is (0 to 1)."""

    model: str
    finding: str
    presence: str
    probability: float


def reported_findings(report: Dataset) -> list[ReportedFinding]:
    """The findings of a TID 1500 report, in its order."""
    return [_read_group(item) for item in _items(report) if _concept(item) == MEASUREMENT_GROUP]


def _read_group(group: Dataset) -> ReportedFinding:
    model, finding, presence, probabilities = "", "", "", []
    for item in _items(group):
        if item.ValueType == "NUM" and item.MeasuredValueSequence:
            measured = item.MeasuredValueSequence[0]
            percent = measured.MeasurementUnitsCodeSequence[0].CodeValue == "%"
            probabilities.append(float(measured.NumericValue) / (100.0 if percent else 1.0))
        elif _concept(item) == ALGORITHM_NAME:
            model = str(item.TextValue)
        elif _concept(item) == FINDING and item.ValueType == "CODE":
            finding = str(item.ConceptCodeSequence[0].CodeMeaning)
        elif _concept(item) == PRESENCE:
            presence = str(item.ConceptCodeSequence[0].CodeMeaning)
    # The group's first number is the finding's probability; what follows is the threshold it is held against.
    return ReportedFinding(model, finding, presence, probabilities[0] if probabilities else math.nan)


def _items(parent: Dataset) -> Iterator[Dataset]:
    for item in parent.get("ContentSequence", ()):
        yield item
        yield from _items(item)


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""
