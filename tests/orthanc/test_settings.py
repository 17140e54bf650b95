"""The section DicomNode of Orthanc's configuration."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from node_routing.settings import RetryPolicy, SettingsError, read_settings

from tests.orthanc.peers import shipped_configuration


def test_the_shipped_configuration_is_right() -> None:
    settings = read_settings(shipped_configuration())

    assert settings.modality in shipped_configuration()["DicomModalities"]
    assert settings.retry == RetryPolicy()
    assert settings.stable_age == timedelta(seconds=60)
    assert [sorted(rule.modalities) for rule in settings.rules] == [["CR", "DX"], ["CT"]]


def test_the_status_page_is_at_the_nodes_address_unless_said() -> None:
    configuration = shipped_configuration()
    del configuration["DicomNode"]["StatusUrl"]
    configuration["DicomNode"]["Url"] = "https://node.example:8443/ai/"

    settings = read_settings(configuration)

    assert settings.url == settings.status_url == "https://node.example:8443/ai"


@pytest.mark.parametrize(
    ("option", "value", "named"),
    [
        ("Url", "node:8080", "Url"),
        ("Modality", "", "Modality"),
        ("Rules", [], "Rules"),
        ("Rules", [{"Modalities": "CT"}], r"Rules\[0\]\.Modalities"),
        ("Rules", [{"Modalities": ["CT"], "Tags": {"StudyDescription": "("}}], r"Tags\.StudyDescription"),
        ("Rules", [{"Modality": ["CT"]}], "unknown Modality"),
        ("FirstRetrySeconds", 0, "FirstRetrySeconds"),
        ("MaximumRetrySeconds", 1, "MaximumRetrySeconds"),
        ("Retries", 3, "unknown Retries"),
    ],
)
def test_a_wrong_option_is_named(option: str, value: Any, named: str) -> None:
    configuration = shipped_configuration()
    configuration["DicomNode"][option] = value

    with pytest.raises(SettingsError, match=named):
        read_settings(configuration)


def test_the_api_key_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("dnk_1_secret\n", encoding="utf-8")
    configuration = shipped_configuration()
    section = configuration["DicomNode"]
    section["ApiKeyFile"] = str(tmp_path / "key")

    with pytest.raises(SettingsError, match="not both"):
        read_settings(configuration)
    del section["ApiKey"]
    assert read_settings(configuration).api_key == "dnk_1_secret"
    section["ApiKeyFile"] = str(tmp_path / "nowhere")
    with pytest.raises(SettingsError, match="nowhere cannot be read"):
        read_settings(configuration)


def test_missing_metadata_are_named() -> None:
    with pytest.raises(SettingsError, match="AiRecord, AiResult"):
        read_settings(shipped_configuration() | {"UserMetadata": {"AiState": 4801}})


def test_the_delay_doubles_up_to_the_longest() -> None:
    policy = RetryPolicy(first=timedelta(seconds=5), longest=timedelta(seconds=60))

    assert [policy.delay(failures).seconds for failures in (1, 2, 3, 4, 5, 1000)] == [5, 10, 20, 40, 60, 60]
