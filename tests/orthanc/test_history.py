"""From where Orthanc's log of changes is read again after a restart."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from node_routing.history import Change, History

NOW = datetime(2026, 1, 2, 3, 4, 5)
SECOND = timedelta(seconds=1)
STABLE_AGE = 60 * SECOND


@pytest.fixture
def history() -> History:
    return History(STABLE_AGE, watermark=10)


def test_changes_are_read_again_until_their_studies_had_time_to_become_stable(history: History) -> None:
    history.advance(20, NOW)
    history.advance(30, NOW + 30 * SECOND)

    assert history.cursor == 30
    assert history.watermark([], NOW + 60 * SECOND) == 10
    assert history.watermark([], NOW + 63 * SECOND) == 20
    assert history.watermark([], NOW + 93 * SECOND) == 30


def test_the_change_of_a_study_under_way_is_read_again(history: History) -> None:
    history.advance(30, NOW)

    assert history.watermark([25, 17], NOW + 3600 * SECOND) == 16
    assert history.watermark([], NOW + 3600 * SECOND) == 30


def test_only_the_last_arrivals_can_have_been_interrupted(history: History) -> None:
    def arrival(number: int, seconds: int) -> Change:
        return Change(number, "NewInstance", "Instance", f"instance {number}", NOW + seconds * SECOND)

    stable = Change(3, "StableStudy", "Study", "study", NOW + 62 * SECOND)
    changes = [arrival(1, 0), arrival(2, 50), stable, arrival(4, 70)]

    assert [change.number for change in history.interrupted(changes)] == [3, 2, 4]
