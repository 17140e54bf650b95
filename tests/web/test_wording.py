from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.config import Config
from dicom_node.receive.refusal import Reason
from dicom_node.web import formatting
from dicom_node.web.dimse_status import status_in_words
from dicom_node.web.refusal_advice import advise


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-1, "0 s"),
        (14.4, "14 s"),
        (125, "2 min 5 s"),
        (1500, "25 min"),
        (7260, "2 h 1 min"),
        (7200, "2 h"),
        (9e5, "10 d"),
    ],
)
def test_duration(seconds: float, words: str) -> None:
    assert formatting.duration(seconds) == words


@pytest.mark.parametrize(
    ("probability", "words"), [(0, "0.0 %"), (0.0004, "<0.1 %"), (0.5, "50.0 %"), (0.9996, ">99.9 %"), (1, "100.0 %")]
)
def test_probability_is_never_rounded_to_certainty(probability: float, words: str) -> None:
    assert formatting.percent(probability) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("", ""),
        ("Doe", "Doe"),
        ("Doe^Jane^Q", "Doe, Jane Q"),
        ("Yamada^Tarou=山田^太郎", "Yamada, Tarou (山田 太郎)"),
        ("=山田^太郎", "山田 太郎"),
    ],
)
def test_person_name(value: str, words: str) -> None:
    assert formatting.person_name(value) == words


@pytest.mark.parametrize(("value", "words"), [("20240131", "2024-01-31"), ("", ""), ("2024", "2024")])
def test_dicom_date(value: str, words: str) -> None:
    assert formatting.dicom_date(value) == words


def test_clock_names_the_day_unless_it_is_today() -> None:
    now = datetime(2025, 11, 20, 12, tzinfo=UTC).astimezone()

    assert formatting.clock(now, now) == f"{now:%H:%M:%S}"
    assert f"{now - timedelta(days=2):%d %b}" in formatting.clock(now - timedelta(days=2), now)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (None, "no answer"),
        (0x0000, "accepted (0x0000)"),
        (0x0122, "does not take this kind"),
        (0xA702, "out of resources"),
        (0xA9FF, "does not match its SOP class"),
        (0xB000, "accepted, but"),
        (0xC123, "cannot understand"),
        (0x0999, "only the peer explains (0x0999)"),
    ],
)
def test_status_is_told_in_plain_words(status: int | None, words: str) -> None:
    assert words in status_in_words(status)


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        (Reason.UNLISTED_SENDER, "ae_title: CT1"),
        (Reason.WRONG_HOST, "ae_title: CT1"),
        (Reason.WRONG_CALLED_AE_TITLE, "called AE title to NODE"),
        (Reason.TOO_MANY_ASSOCIATIONS, "receive.maximum_associations"),
        (Reason.CONTEXT_NOT_ACCEPTED, "transfer syntax"),
        (Reason.DISK_FULL, "minimum_free_megabytes"),
        (Reason.STORE_FAILED, "can be written"),
        (Reason.DOES_NOT_MATCH, "wrong requests"),
        (Reason.UID_CONFLICT, "new UIDs"),
        (Reason.INTERNAL_ERROR, "log"),
        (Reason.DAMAGED, "dciodvfy"),
        ("a code of another release", "log"),
    ],
)
def test_refusal_comes_with_what_to_change(config: Config, reason: str, words: str) -> None:
    assert words in advise(reason, "CT1", config).action


def test_every_reason_has_advice_of_its_own(config: Config) -> None:
    advice = {advise(reason, "CT1", config) for reason in Reason}

    assert len(advice) == len(Reason)
