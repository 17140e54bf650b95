from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.database import Database
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.web.queries.overview import Turnaround, get_backlogs, get_overview
from dicom_node.web.queries.refusals import count_refusals
from dicom_node.web.queries.studies import Cursor
from dicom_node.web.queries.study import get_study
from tests.web.conftest import STUDY, Records

DAY = timedelta(days=1)


def test_cursor_reads_what_it_writes() -> None:
    cursor = Cursor(datetime(2025, 11, 20, 12, 0, 0, 123457, tzinfo=UTC), "1.2.3")

    assert Cursor.parse(str(cursor)) == cursor


@pytest.mark.parametrize("text", ["", "1", "x-1.2", "-5-1.2", "9" * 40 + "-1.2"])
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a page"):
        Cursor.parse(text)


def test_overview_counts_what_is_under_way_and_what_ended_lately(database: Database, records: Records) -> None:
    records.study("1.1", state=StudyState.QUEUED, state_changed_at=records.at - timedelta(hours=3))
    records.study("1.2", state=StudyState.QUEUED)
    records.study("1.3", state=StudyState.FAILED)
    records.study("1.4", state=StudyState.FAILED, age=3 * DAY)

    with database.reading() as session:
        overview = get_overview(session, since=records.at - DAY, parked_since=records.at - DAY, at=records.at)

    assert overview.in_progress == {StudyState.QUEUED: 2}
    assert overview.ended == {StudyState.FAILED: 1}
    assert overview.queued_since == records.at - timedelta(hours=3)
    assert overview.turnaround is None


def test_turnaround_is_the_median_of_what_was_delivered(database: Database, records: Records) -> None:
    for number, seconds in enumerate((10, 12, 500)):
        records.study(f"1.{number}")
        records.analysis(
            f"a{number}", f"1.{number}", finished_at=records.at, last_image_at=records.at - timedelta(seconds=seconds)
        )
    records.study("1.9", state=StudyState.FAILED)
    records.analysis("a9", "1.9", state=StudyState.FAILED, last_image_at=records.at)

    with database.reading() as session:
        overview = get_overview(session, since=records.at - DAY, parked_since=records.at - DAY, at=records.at)

    assert overview.turnaround == Turnaround(median=12, percentile_95=500)


def test_backlog_counts_by_destination_and_quotes_the_newest_answer(database: Database, records: Records) -> None:
    records.study()
    records.analysis()
    for number, (state, hours) in enumerate(
        [
            (DeliveryState.RETRYING, 2),
            (DeliveryState.RETRYING, 1),
            (DeliveryState.PARKED, 1),
            (DeliveryState.PARKED, 99),
        ]
    ):
        records.result(f"2.25.{number}")
        records.delivery(
            f"2.25.{number}",
            state=state,
            message=f"answer {number}",
            last_attempt_at=records.at - timedelta(hours=hours),
        )

    with database.reading() as session:
        backlogs = get_backlogs(session, parked_since=records.at - DAY)

    found = {backlog.state: (backlog.count, backlog.message, backlog.study_instance_uid) for backlog in backlogs}
    assert found == {DeliveryState.RETRYING: (2, "answer 1", STUDY), DeliveryState.PARKED: (1, "answer 2", STUDY)}


def test_study_that_is_not_known_is_none(database: Database) -> None:
    with database.reading() as session:
        assert get_study(session, "9.9") is None


def test_old_refusals_are_not_counted(database: Database, records: Records) -> None:
    records.refusal("now")
    records.refusal("then", age=2 * DAY)

    with database.reading() as session:
        assert count_refusals(session, records.at - DAY) == 1


def test_what_somebody_cancelled_waits_for_nobody(database: Database, records: Records) -> None:
    records.study(state=StudyState.CANCELLED)
    records.analysis(state=StudyState.CANCELLED)
    records.result()
    records.delivery(state=DeliveryState.PARKED)

    with database.reading() as session:
        assert get_backlogs(session, parked_since=records.at - DAY) == ()
