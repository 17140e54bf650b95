"""The plugin's part of Orthanc's configuration: the section ``DicomNode``, checked when Orthanc starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SECTION = "DicomNode"
STATE_METADATA = "AiState"
RECORD_METADATA = "AiRecord"
RESULT_METADATA = "AiResult"


class SettingsError(Exception):
    """The configuration is wrong; the text names the option and what is allowed there."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Series of one of ``modalities`` whose tags all match are sent. An empty ``tags`` matches every series."""

    modalities: frozenset[str]
    tags: Mapping[str, re.Pattern[str]]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How long to wait after the first failure, at most, and when to stop trying."""

    first: timedelta = timedelta(seconds=5)
    longest: timedelta = timedelta(minutes=10)
    give_up_after: timedelta = timedelta(hours=168)

    def delay(self, failures: int) -> timedelta:
        """The pause after the ``failures``-th failure in a row: doubled each time, up to ``longest``."""
        doublings = min(max(failures - 1, 0), 30)
        return min(self.first * (1 << doublings), self.longest)


@dataclass(frozen=True, slots=True)
class Settings:
    """Which series go to the node, and how the node is reached.

    ``modality`` is the node's symbolic name in ``DicomModalities``; ``url`` is the node's web address as Orthanc
    reaches it, ``status_url`` the same as a browser does. ``api_key`` is what ``dicom-node apikey add`` printed.
    """

    modality: str
    url: str
    status_url: str
    rules: tuple[Rule, ...]
    retry: RetryPolicy
    stable_age: timedelta
    api_key: str = ""


_OPTIONS = {
    "Modality",
    "Url",
    "StatusUrl",
    "ApiKey",
    "ApiKeyFile",
    "Rules",
    "FirstRetrySeconds",
    "MaximumRetrySeconds",
    "GiveUpAfterHours",
}


def read_settings(configuration: Mapping[str, Any]) -> Settings:
    """Check Orthanc's whole configuration for what the plugin needs.

    Raises:
        SettingsError: an option is missing, unknown or wrong.
    """
    section = configuration.get(SECTION)
    if not isinstance(section, dict):
        raise SettingsError(f'the section "{SECTION}" is missing')
    _refuse_unknown(section, _OPTIONS, SECTION)
    _check_metadata(configuration.get("UserMetadata") or {})
    url = _url(section, "Url")
    retry = RetryPolicy(
        first=timedelta(seconds=_positive(section, "FirstRetrySeconds", 5)),
        longest=timedelta(seconds=_positive(section, "MaximumRetrySeconds", 600)),
        give_up_after=timedelta(hours=_positive(section, "GiveUpAfterHours", 168)),
    )
    if retry.longest < retry.first:
        raise SettingsError(f"{SECTION}.MaximumRetrySeconds must not be below FirstRetrySeconds")
    return Settings(
        modality=_text(section, "Modality", SECTION),
        url=url,
        status_url=_url(section, "StatusUrl") if "StatusUrl" in section else url,
        rules=_rules(section.get("Rules")),
        retry=retry,
        api_key=_api_key(section),
        stable_age=timedelta(seconds=_positive(configuration, "StableAge", 60)),
    )


def _api_key(section: Mapping[str, Any]) -> str:
    if "ApiKeyFile" not in section:
        return _text(section, "ApiKey", SECTION) if "ApiKey" in section else ""
    if "ApiKey" in section:
        raise SettingsError(f"{SECTION}: give ApiKey or ApiKeyFile, not both")
    path = _text(section, "ApiKeyFile", SECTION)
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{SECTION}.ApiKeyFile {path} cannot be read: {error}") from error


def _check_metadata(registered: Mapping[str, Any]) -> None:
    missing = [name for name in (STATE_METADATA, RECORD_METADATA, RESULT_METADATA) if name not in registered]
    if missing:
        raise SettingsError(
            f'"UserMetadata" must give each of these names a number of 1024 or more: {", ".join(missing)}'
        )


def _rules(raw: object) -> tuple[Rule, ...]:
    if not isinstance(raw, list) or not raw:
        raise SettingsError(f'{SECTION}.Rules must be a list such as [{{"Modalities": ["CT", "CR", "DX"]}}]')
    return tuple(_rule(item, f"{SECTION}.Rules[{number}]") for number, item in enumerate(raw))


def _rule(raw: object, where: str) -> Rule:
    if not isinstance(raw, dict):
        raise SettingsError(f'{where} must be a rule such as {{"Modalities": ["CT"]}}')
    _refuse_unknown(raw, {"Modalities", "Tags"}, where)
    modalities, tags = raw.get("Modalities"), raw.get("Tags", {})
    if not isinstance(modalities, list) or not modalities or not all(isinstance(name, str) for name in modalities):
        raise SettingsError(f'{where}.Modalities must be a list such as ["CT"]')
    if not isinstance(tags, dict):
        raise SettingsError(f'{where}.Tags must map tags to regular expressions: {{"StudyDescription": "(?i)chest"}}')
    return Rule(frozenset(modalities), {tag: _pattern(text, f"{where}.Tags.{tag}") for tag, text in tags.items()})


def _pattern(text: object, where: str) -> re.Pattern[str]:
    try:
        return re.compile(str(text))
    except re.error as error:
        raise SettingsError(f"{where} is not a regular expression: {error}") from error


def _refuse_unknown(section: Mapping[str, Any], known: set[str], where: str) -> None:
    unknown = sorted(section.keys() - known)
    if unknown:
        raise SettingsError(f"{where}: unknown {', '.join(unknown)}; allowed are {', '.join(sorted(known))}")


def _text(section: Mapping[str, Any], option: str, where: str) -> str:
    value = section.get(option)
    if not isinstance(value, str) or not value:
        raise SettingsError(f"{where}.{option} must be given, as a text")
    return value


def _url(section: Mapping[str, Any], option: str) -> str:
    url = _text(section, option, SECTION).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise SettingsError(f"{SECTION}.{option} must be an address such as http://ai-node:8080")
    return url


def _positive(section: Mapping[str, Any], option: str, default: float) -> float:
    value = section.get(option, default)
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise SettingsError(f"{option} must be a number above 0")
    return float(value)
