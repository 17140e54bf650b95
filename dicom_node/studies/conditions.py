"""A bundle's conditions held against one header: satisfied, or why not, in words."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from pydicom import Dataset

from dicom_node.manifest import Condition
from dicom_node.studies.attributes import Attribute, attribute


def why_not(condition: Condition, dataset: Dataset) -> str | None:
    """Return None where the condition holds, else a clause: ``BodyPartExamined is CHEST, needs to be ABDOMEN``.

    An attribute that is missing or empty satisfies only ``present: false`` and ``not_in``. Of an attribute with
    several values one has to satisfy ``equals``, ``matches``, ``in`` and ``between``, all have to satisfy ``not_in``.
    Code strings are compared without regard to case.
    """
    if condition.any is not None:
        return _why_not_any(condition.any, dataset)
    if condition.all is not None:
        return next((reason for part in condition.all if (reason := why_not(part, dataset))), None)
    if condition.none is not None:
        found = next((part for part in condition.none if why_not(part, dataset) is None), None)
        return None if found is None else f"{_described(found, dataset)}, which is ruled out"
    if condition.attribute is None:
        raise ValueError("a condition has an attribute or a group")
    found_attribute = attribute(dataset, condition.attribute)
    if _holds(condition, found_attribute):
        return None
    state = f"is {found_attribute.shown}" if found_attribute.values else "is missing"
    return f"{condition.attribute} {state}, {_need(condition)}"


def _why_not_any(alternatives: Sequence[Condition], dataset: Dataset) -> str | None:
    reasons = []
    for alternative in alternatives:
        reason = why_not(alternative, dataset)
        if reason is None:
            return None
        reasons.append(reason)
    return ", and ".join(reasons) or "no alternative is given"


def _holds(condition: Condition, found: Attribute) -> bool:
    if condition.present is not None:
        return bool(found.values) is condition.present
    if condition.not_in is not None:
        return not any(_equals(found, value) for value in condition.not_in)
    if condition.in_ is not None:
        return any(_equals(found, value) for value in condition.in_)
    if condition.equals is not None:
        return _equals(found, condition.equals)
    if condition.between is not None:
        low, high = condition.between
        return any(low <= number <= high for number in found.numbers)
    flags = re.IGNORECASE if found.ignores_case else re.NOFLAG
    return any(re.search(condition.matches or "", value, flags) for value in found.values)


def _equals(found: Attribute, wanted: str | float) -> bool:
    """A number in the rule is compared as a number, text as text."""
    if not isinstance(wanted, str):
        return any(math.isclose(number, wanted, rel_tol=1e-6, abs_tol=1e-9) for number in found.numbers)
    if found.ignores_case:
        return any(value.casefold() == wanted.strip().casefold() for value in found.values)
    return wanted.strip() in found.values


def _need(condition: Condition) -> str:
    if condition.present is not None:
        return "needs to be present" if condition.present else "needs to be absent"
    if condition.not_in is not None:
        return f"must not be {_list(condition.not_in)}"
    if condition.in_ is not None:
        return f"needs to be {_list(condition.in_)}"
    if condition.equals is not None:
        return f"needs to be {_plain(condition.equals)}"
    if condition.between is not None:
        unit = " years" if condition.attribute == "PatientAge" else ""
        return f"needs to be between {condition.between[0]:g} and {condition.between[1]:g}{unit}"
    return f"needs to match {condition.matches}"


def _described(condition: Condition, dataset: Dataset) -> str:
    """Say what of a header satisfied a condition."""
    if condition.attribute is None:
        parts = condition.any or condition.all or condition.none or ()
        held = [part for part in parts if condition.none is None and why_not(part, dataset) is None]
        return " and ".join(_described(part, dataset) for part in held) or "what it says"
    found = attribute(dataset, condition.attribute)
    return f"{condition.attribute} is {found.shown}" if found.values else f"{condition.attribute} is missing"


def _list(values: Sequence[str | float]) -> str:
    texts = [_plain(value) for value in values]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"


def _plain(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
