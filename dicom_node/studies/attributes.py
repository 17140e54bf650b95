"""The values of a DICOM attribute as rules see them: text and numbers, wherever in the header they stand."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime

from pydicom import DataElement, Dataset
from pydicom.datadict import tag_for_keyword
from pydicom.multival import MultiValue

_PERSONAL_GROUP = 0x0010
_TELLABLE = frozenset({"PatientAge", "PatientSex", "PatientSize", "PatientWeight"})
"""Attributes of the patient group that identify nobody; the values of the others are never repeated in a sentence."""

_AGE = re.compile(r"(\d{1,3})([DWMY]?)", re.IGNORECASE)
_DAYS = {"D": 1.0, "W": 7.0, "M": 365.25 / 12, "Y": 365.25, "": 365.25}
_LONGEST_SHOWN = 64


@dataclass(frozen=True, slots=True)
class Attribute:
    """The values of one attribute, without padding and empty ones; none where it is missing or empty.

    ``ignores_case`` holds for code strings, which DICOM wants in upper case (PS3.5 6.2) and some writers do not.
    """

    keyword: str
    values: tuple[str, ...] = ()
    ignores_case: bool = False

    @property
    def numbers(self) -> tuple[float, ...]:
        """The values that are numbers; ages in years."""
        if self.keyword == "PatientAge":
            parsed = [age_in_years(value) for value in self.values]
        else:
            parsed = [_number(value) for value in self.values]
        return tuple(value for value in parsed if value is not None)

    @property
    def shown(self) -> str:
        """The values for a sentence; what could identify the patient is not repeated."""
        tag = tag_for_keyword(self.keyword)
        if tag is not None and tag >> 16 == _PERSONAL_GROUP and self.keyword not in _TELLABLE:
            return "another value"
        text = "\\".join(self.values)
        return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


def attribute(dataset: Dataset, keyword: str) -> Attribute:
    """Find an attribute in a header, or in the functional groups of a multi-frame one (PS3.3 C.7.6.16).

    A sequence of codes, such as Anatomic Region Sequence, has the code values and code meanings as its values.
    Patient's Age is worked out from birth and study date where it is missing.
    """
    element = next((source[keyword] for source in _sources(dataset) if source.get(keyword) not in (None, "")), None)
    if element is None:
        age = _age_from_dates(dataset) if keyword == "PatientAge" else None
        return Attribute(keyword, () if age is None else (f"{age:03d}Y",))
    return Attribute(keyword, tuple(_texts(element)), ignores_case=element.VR == "CS")


def age_in_years(text: str) -> float | None:
    """Return an Age String (PS3.5 6.2), ``036Y`` or ``010M``, in years; a number without unit counts as years."""
    match = _AGE.fullmatch(text.strip())
    if match is None:
        return None
    count, unit = float(match[1]), match[2].upper()
    return count if unit in ("Y", "") else count * _DAYS[unit] / _DAYS["Y"]


def _sources(dataset: Dataset) -> Iterator[Dataset]:
    yield dataset
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for groups in (dataset.get(keyword) or ())[:1]:
            yield from (macro.value[0] for macro in groups if macro.VR == "SQ" and macro.value)


def _texts(element: DataElement) -> Iterator[str]:
    if element.VR == "SQ":
        for item in element.value:
            yield from (str(item[part].value) for part in ("CodeValue", "CodeMeaning") if item.get(part))
        return
    values = element.value if isinstance(element.value, MultiValue | list | tuple) else [element.value]
    yield from (text for text in (str(value).strip(" \0") for value in values) if text)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _age_from_dates(dataset: Dataset) -> int | None:
    born, seen = _date(dataset.get("PatientBirthDate")), _date(dataset.get("StudyDate"))
    if born is None or seen is None or seen < born:
        return None
    return min(999, seen.year - born.year - ((seen.month, seen.day) < (born.month, born.day)))


def _date(value: object) -> date | None:
    try:
        return datetime.strptime(str(value or ""), "%Y%m%d").date()
    except ValueError:
        return None
