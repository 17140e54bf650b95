"""A structured report's content tree (PS3.3 C.17.3) as text for people: what each item is called, and its value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.errors import InvalidDicomError
from pydicom.uid import UID

from dicom_node.web.formatting import person_name

_DEEPEST = 32


class NotAReport(Exception):
    """The object holds no report that can be read."""


@dataclass(frozen=True, slots=True)
class ContentItem:
    """One item of a report: its concept name and value, either of which may be empty, and what stands below it."""

    name: str
    value: str
    children: tuple[ContentItem, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A report as its page shows it. ``verification`` is Verification Flag (0040,A493)."""

    title: str
    verification: str
    content: tuple[ContentItem, ...]


def read_report(path: Path) -> Report:
    """Read a structured report.

    Raises:
        NotAReport: the file is gone, damaged, or no structured report.
    """
    try:
        dataset = dcmread(path, stop_before_pixels=True)
        if "ContentSequence" not in dataset:
            raise NotAReport("The object is not a structured report.")
        root = _item(dataset, 0)
        return Report(root.name or "Report", str(dataset.get("VerificationFlag", "")), root.children)
    except (OSError, InvalidDicomError, AttributeError, IndexError, TypeError, ValueError) as error:
        raise NotAReport(f"The report cannot be read ({type(error).__name__}).") from error


def _item(item: Dataset, depth: int) -> ContentItem:
    name = _meaning(item, "ConceptNameCodeSequence")
    read = _VALUES.get(str(item.get("ValueType", "")))
    children = item.get("ContentSequence", ()) if depth < _DEEPEST else ()
    return ContentItem(name, read(item) if read else "", tuple(_item(child, depth + 1) for child in children))


def _meaning(item: Dataset, keyword: str) -> str:
    codes = item.get(keyword)
    return str(codes[0].get("CodeMeaning", "")) if codes else ""


def _number(item: Dataset) -> str:
    values = item.get("MeasuredValueSequence")
    if not values:
        return "no value"
    unit = values[0].get("MeasurementUnitsCodeSequence")
    symbol = str(unit[0].get("CodeValue", "")) if unit else ""
    return f"{values[0].get('NumericValue', '')} {'' if symbol == '1' else symbol}".strip()


def _image(item: Dataset) -> str:
    reference = item.ReferencedSOPSequence[0]
    frames = f", frame {reference.ReferencedFrameNumber}" if "ReferencedFrameNumber" in reference else ""
    return f"{UID(reference.ReferencedSOPClassUID).name} {reference.ReferencedSOPInstanceUID}{frames}"


def _region(item: Dataset) -> str:
    vertices = len(item.get("GraphicData") or ()) // (3 if item.ValueType == "SCOORD3D" else 2)
    return f"{str(item.get('GraphicType', '')).lower()} of {vertices} points"


_VALUES: dict[str, Callable[[Dataset], str]] = {
    "TEXT": lambda item: str(item.get("TextValue", "")),
    "CODE": lambda item: _meaning(item, "ConceptCodeSequence"),
    "NUM": _number,
    "DATETIME": lambda item: str(item.get("DateTime", "")),
    "DATE": lambda item: str(item.get("Date", "")),
    "TIME": lambda item: str(item.get("Time", "")),
    "PNAME": lambda item: person_name(str(item.get("PersonName", ""))),
    "UIDREF": lambda item: str(item.get("UID", "")),
    "IMAGE": _image,
    "COMPOSITE": _image,
    "SCOORD": _region,
    "SCOORD3D": _region,
}
