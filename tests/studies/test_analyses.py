"""The rows of an analysis and their study."""

from __future__ import annotations

import pytest

from dicom_node.database import Database, now
from dicom_node.domain import StudyState
from dicom_node.studies import analyses
from dicom_node.tables import StudyRow


@pytest.mark.parametrize("state", [StudyState.ANALYSING, StudyState.DELIVERED, StudyState.FAILED])
def test_a_study_whose_worker_was_faster_than_its_watcher_shows_how_far_it_is(
    database: Database, state: StudyState
) -> None:
    at = now()
    name = analyses.analysis_id("1.2.3", "0" * 64)
    with database.session.begin() as session:
        times = {"first_received_at": at, "last_received_at": at, "state_changed_at": at}
        session.add(StudyRow(study_instance_uid="1.2.3", state=StudyState.RECEIVING, **times))
        session.flush()
        analyses.open_analysis(session, "1.2.3", "0" * 64, 1)
        analyses.set_state(session, name, state, "why")

    with database.session.begin() as session:
        assert analyses.mark_queued(session, "1.2.3", at, name)

    with database.reading() as session:
        study = session.get_one(StudyRow, "1.2.3")
    assert (study.state, study.reason, study.latest_analysis_id) == (state, "why", name)


def test_a_study_that_no_worker_has_taken_up_is_queued(database: Database) -> None:
    at = now()
    with database.session.begin() as session:
        times = {"first_received_at": at, "last_received_at": at, "state_changed_at": at}
        session.add(StudyRow(study_instance_uid="1.2.3", state=StudyState.RECEIVING, **times))

    with database.session.begin() as session:
        assert analyses.mark_queued(session, "1.2.3", at, "1.2.3-0")

    with database.reading() as session:
        assert session.get_one(StudyRow, "1.2.3").state is StudyState.QUEUED
