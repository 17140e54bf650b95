from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.tables import AnalysisRow, DeliveryRow, EventRow, StudyRow
from dicom_node.web.actions import Action, Situation, why_not
from tests.web.conftest import ANALYSIS, CAPTURE, STUDY, Records

WHY = {"reason": "the archive was down"}


def _rows(database: Database, row: type) -> list:
    with database.reading() as session:
        return list(session.scalars(sa.select(row)))


def _refused(records: Records, **delivery: object) -> None:
    records.study(state=StudyState.FAILED, latest_analysis_id=None)
    records.series()
    records.analysis(state=StudyState.FAILED)
    records.result()
    records.delivery(state=DeliveryState.PARKED, status=0xC000, message="refused for good", **delivery)


def test_refused_delivery_is_tried_again_once_however_often_it_is_asked(
    client: TestClient, records: Records, database: Database
) -> None:
    _refused(records)

    answers = [client.post(f"/api/studies/{STUDY}/retry", json=WHY | {"destination": "archive"}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["state"] == "delivering"
    [delivery] = _rows(database, DeliveryRow)
    assert (delivery.state, delivery.next_attempt_at) == (DeliveryState.RETRYING, None)
    assert "refused for good" in delivery.message
    assert [event.text for event in _rows(database, EventRow)] == [
        "Delivery to archive is tried again, asked for by operator: the archive was down."
    ]


def test_what_waits_for_its_next_attempt_waits_no_longer(
    client: TestClient, records: Records, database: Database
) -> None:
    records.study(state=StudyState.DELIVERING)
    records.analysis(state=StudyState.DELIVERING)
    records.result()
    records.delivery(state=DeliveryState.RETRYING, next_attempt_at=records.at + timedelta(minutes=9))

    assert client.post(f"/api/studies/{STUDY}/retry", json=WHY).status_code == 202

    assert _rows(database, DeliveryRow)[0].next_attempt_at is None


def test_study_is_queued_to_be_analysed_again_under_the_name_of_its_images(
    client: TestClient, records: Records, database: Database
) -> None:
    records.study(state=StudyState.FAILED)
    records.series()

    taken = client.post(f"/api/studies/{STUDY}/reanalyse", json=WHY)
    again = client.post(f"/api/studies/{STUDY}/reanalyse", json=WHY)

    assert taken.status_code == 202
    assert "same UIDs" in taken.json()["text"]
    assert (again.status_code, again.headers["content-type"]) == (409, "application/problem+json")
    assert "queued" in again.json()["detail"]
    [study], [analysis] = _rows(database, StudyRow), _rows(database, AnalysisRow)
    assert study.state is analysis.state is StudyState.QUEUED
    assert study.latest_analysis_id == analysis.analysis_id
    assert analysis.asked_again_at is not None


def test_results_are_sent_to_a_destination_that_had_none(
    client: TestClient, records: Records, database: Database
) -> None:
    records.whole_study()
    with database.session.begin() as session:
        session.execute(sa.delete(DeliveryRow))

    taken = client.post(f"/api/studies/{STUDY}/send", json=WHY | {"destination": "archive"})
    nowhere = client.post(f"/api/studies/{STUDY}/send", json=WHY | {"destination": "elsewhere"})

    assert (taken.status_code, taken.json()["state"]) == (202, "delivering")
    [delivery] = _rows(database, DeliveryRow)
    assert (delivery.destination, delivery.state, delivery.attempts) == ("archive", DeliveryState.RETRYING, 0)
    assert nowhere.status_code == 422
    assert "destinations: archive" in nowhere.json()["detail"]


def test_cancelled_deliveries_are_not_tried_any_more(client: TestClient, records: Records, database: Database) -> None:
    records.study(state=StudyState.DELIVERING)
    records.analysis(state=StudyState.DELIVERING)
    records.result()
    records.delivery(state=DeliveryState.RETRYING, message="no answer")

    taken = client.post(f"/api/studies/{STUDY}/cancel", json=WHY)

    assert taken.json()["state"] == "cancelled"
    assert _rows(database, AnalysisRow)[0].state is StudyState.CANCELLED
    assert _rows(database, DeliveryRow)[0].state is DeliveryState.PARKED
    assert client.post(f"/api/studies/{STUDY}/cancel", json=WHY).status_code == 409


@pytest.mark.parametrize(
    ("action", "state", "words"),
    [
        (Action.COMPLETE, StudyState.DELIVERED, "not receiving"),
        (Action.REANALYSE, StudyState.RECEIVING, "still arriving"),
        (Action.REANALYSE, StudyState.ANALYSING, "at the moment"),
        (Action.RETRY, StudyState.DELIVERED, "Nothing of this study waits"),
        (Action.SEND, StudyState.QUEUED, "no final result"),
        (Action.SEND, StudyState.NOT_APPLICABLE, "no result objects"),
        (Action.CANCEL, StudyState.DELIVERED, "ended already"),
    ],
)
def test_what_a_state_does_not_allow_is_refused_in_a_sentence(action: Action, state: StudyState, words: str) -> None:
    refusal = why_not(action, Situation(state, is_removed=False, results=0, deliveries=frozenset()))

    assert refusal is not None
    assert words in refusal


@pytest.mark.parametrize("action", [Action.RETRY, Action.REANALYSE, Action.SEND])
def test_study_whose_files_were_removed_has_to_be_sent_again(action: Action) -> None:
    study = Situation(StudyState.FAILED, is_removed=True, results=1, deliveries=frozenset({DeliveryState.PARKED}))

    assert "Send the study again" in (why_not(action, study) or "")


def test_action_needs_a_reason_and_is_audited_with_it(client: TestClient, records: Records, config: Config) -> None:
    _refused(records)

    without = client.post(f"/api/studies/{STUDY}/retry", json={"reason": " "})
    client.post(f"/api/studies/{STUDY}/retry", json=WHY)

    assert without.status_code == 422
    trail = "".join(path.read_text() for path in Path(config.audit_folder).iterdir())
    assert trail.count("the archive was down") == 1
    assert "PID-7" in trail


def test_page_offers_what_is_possible_and_takes_its_form(client: TestClient, records: Records) -> None:
    _refused(records)
    token = client.headers.pop("X-CSRF-Token")
    page = client.get(f"/studies/{STUDY}").text

    form = {"csrf_token": token, "reason": "mended", "destination": "archive"}
    taken = client.post(f"/studies/{STUDY}/actions/retry", data=form, follow_redirects=False)
    refused = client.post(f"/studies/{STUDY}/actions/complete", data=form)

    assert "Try delivery again" in page
    assert "Complete now" not in page
    assert (taken.status_code, taken.headers["location"]) == (303, f"/studies/{STUDY}")
    assert refused.status_code == 409
    assert "not receiving" in refused.text


def test_viewer_is_offered_no_action_and_may_take_none(viewer: TestClient, records: Records) -> None:
    _refused(records)

    assert "Try delivery again" not in viewer.get(f"/studies/{STUDY}").text
    assert viewer.post(f"/api/studies/{STUDY}/retry", json=WHY).status_code == 403
    assert viewer.post(f"/studies/{STUDY}/actions/retry", data={"reason": "x"}).status_code == 403


def test_delivery_is_of_the_analysis_and_object_it_was_of(
    client: TestClient, records: Records, database: Database
) -> None:
    _refused(records)

    client.post(f"/api/studies/{STUDY}/retry", json=WHY)

    [delivery] = _rows(database, DeliveryRow)
    assert (delivery.analysis_id, delivery.sop_instance_uid) == (ANALYSIS, CAPTURE)
