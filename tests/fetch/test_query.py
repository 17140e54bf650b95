"""What a rule asks for, and when."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.config import ConfigurationError, FetchRule, load_config
from dicom_node.fetch.query import last_tick, rule_queries

RULE = FetchRule.model_validate(
    {
        "name": "chest",
        "from": "pacs",
        "at": "0 5 * * *",
        "modalities": ["CR", "DX"],
        "matching": {"StudyDescription": "*chest*"},
    }
)


def test_yesterdays_studies_are_asked_for_modality_by_modality() -> None:
    queries = rule_queries(RULE, datetime(2025, 3, 1, 5, 0).astimezone())

    assert [query.ModalitiesInStudy for query in queries] == ["CR", "DX"]
    assert {query.StudyDate for query in queries} == {"20250228"}
    assert {query.StudyDescription for query in queries} == {"*chest*"}


@pytest.mark.parametrize(("hour", "day"), [(5, 2), (23, 2), (4, 1)])
def test_a_rule_was_due_at_its_last_time_be_it_yesterday(hour: int, day: int) -> None:
    at = datetime(2025, 3, 2, hour, 0).astimezone()

    tick = last_tick(RULE, at)

    assert (tick.day, tick.hour) == (day, 5)
    assert at - tick < timedelta(days=1)


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("{name: a, from: nobody, at: '0 5 * * *'}", "is no DICOM peer"),
        ("{name: a, from: pacs, at: daily}", "no cron expression"),
        ("{name: a, from: pacs, at: '0 5 * * *', matching: {Bodypart: CHEST}}", "no DICOM keyword: Bodypart"),
        ("{name: a, from: pacs, when: '0 5 * * *'}", "unknown key; allowed here"),
    ],
)
def test_a_wrong_rule_is_refused(tmp_path: Path, rule: str, words: str) -> None:
    text = f"fetch: [{rule}]\npeers: [{{name: pacs, ae_title: PACS, host: pacs, port: 104}}]"
    (tmp_path / "node.yaml").write_text(text, encoding="utf-8")

    with pytest.raises(ConfigurationError, match=words):
        load_config(tmp_path / "node.yaml")
