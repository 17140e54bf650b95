"""How pages write times, probabilities, sizes and DICOM values."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydicom.valuerep import PersonName


def duration(seconds: float) -> str:
    """A length of time in its two largest units at most: "14 s", "2 min 5 s", "3 h 10 min", "4 d"."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10 and rest:
        return f"{minutes} min {rest} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    return f"{hours // 24} d"


def age(since: datetime, now: datetime) -> str:
    """How long ago ``since`` was."""
    return duration((now - since).total_seconds())


def offset(later: datetime, earlier: datetime) -> str:
    """How long after ``earlier`` something was: "+14 s"."""
    return f"+{duration((later - earlier) / timedelta(seconds=1))}"


def clock(at: datetime, now: datetime) -> str:
    """The time of day where the node stands, with the date unless it is today."""
    local = at.astimezone()
    return f"{local:%H:%M:%S}" if local.date() == now.astimezone().date() else f"{local:%d %b %H:%M}"


def full_time(at: datetime) -> str:
    """Date, time and time zone where the node stands."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S %Z}"


def percent(probability: float) -> str:
    """A probability with one decimal; never a false 0 % or 100 %."""
    if 0 < probability < 0.001:
        return "<0.1 %"
    if 0.999 < probability < 1:
        return ">99.9 %"
    return f"{100 * probability:.1f} %"


def dicom_date(value: str) -> str:
    """A DA value (PS3.5 6.2) as ISO 8601; anything else as it is."""
    return f"{value[:4]}-{value[4:6]}-{value[6:]}" if len(value) == 8 and value.isdecimal() else value


def person_name(value: str) -> str:
    """A PN value (PS3.5 6.2.1) as people write it; further component groups in parentheses."""
    name = PersonName(value)
    written = ", ".join(part for part in (name.family_name, f"{name.given_name} {name.middle_name}".strip()) if part)
    others = [group.replace("^", " ").strip() for group in (name.ideographic, name.phonetic) if group]
    return f"{written} ({', '.join(others)})" if others and written else written or ", ".join(others)


def megabytes(value: float) -> str:
    """An amount of storage given in MiB."""
    return f"{value:.0f} MB" if value < 1024 else f"{value / 1024:.0f} GB"


def profile(probabilities: tuple[float, ...]) -> str:
    """The points of an SVG polyline 100 wide and 20 high: one probability an image, in the order of the stack."""
    step = 100 / max(1, len(probabilities) - 1)
    return " ".join(f"{index * step:.2f},{20 - 20 * value:.2f}" for index, value in enumerate(probabilities))
