"""When a study counts as complete."""

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.config import CompletenessSection
from dicom_node.studies.completeness import WaitingStudy, complete_because

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
SETTINGS = CompletenessSection(quiet_seconds={"DX": 10, "CT": 30}, default_quiet_seconds=20, maximum_wait_seconds=100)


def _study(
    *modalities: str,
    last: datetime = NOON,
    since: datetime = NOON,
    released: datetime | None = None,
) -> WaitingStudy:
    return WaitingStudy("1.2", frozenset(modalities), last, since, released)


@pytest.mark.parametrize(
    ("modalities", "quiet"), [(("DX",), 10), (("CT",), 30), (("DX", "CT"), 30), (("OT",), 20), ((), 20)]
)
def test_the_longest_quiet_period_of_the_modalities_counts(modalities: tuple[str, ...], quiet: int) -> None:
    study = _study(*modalities)

    assert complete_because(study, SETTINGS, NOON + timedelta(seconds=quiet - 0.1)) is None
    assert complete_because(study, SETTINGS, NOON + timedelta(seconds=quiet)) == f"no further image for {quiet} s"


def test_images_that_keep_coming_do_not_hold_a_study_back_for_ever() -> None:
    study = _study("CT", last=NOON + timedelta(seconds=99), since=NOON)

    assert complete_because(study, SETTINGS, NOON + timedelta(seconds=99)) is None
    assert complete_because(study, SETTINGS, NOON + timedelta(seconds=100)) == "images kept coming for 100 s"


def test_a_released_study_is_complete_at_once() -> None:
    study = _study("CT", released=NOON)

    assert complete_because(study, SETTINGS, NOON) == "released by the sender"


def test_an_image_after_the_release_makes_the_study_wait_again() -> None:
    study = _study("CT", last=NOON + timedelta(seconds=1), released=NOON)

    assert complete_because(study, SETTINGS, NOON + timedelta(seconds=2)) is None
