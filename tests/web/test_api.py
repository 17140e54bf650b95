from __future__ import annotations

from datetime import timedelta

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dicom_node.database import Database
from dicom_node.domain import StudyState
from dicom_node.tables import EventRow, StudyRow
from tests.web.conftest import STUDY, Records

PROBLEM = "application/problem+json"


def test_studies_are_paged_without_gap_or_repetition(client: TestClient, records: Records) -> None:
    same_moment = timedelta(minutes=3)
    for number in range(5):
        records.study(f"1.{number}", same_moment)
    records.study("1.9", timedelta(minutes=1))

    pages, before = [], None
    while True:
        page = client.get("/api/studies", params={"limit": 2} | ({"before": before} if before else {})).json()
        pages.append([study["study_instance_uid"] for study in page["studies"]])
        before = page["next"]
        if before is None:
            break

    assert pages == [["1.9", "1.4"], ["1.3", "1.2"], ["1.1", "1.0"]]


def test_listed_study_carries_its_findings_and_no_patient(client: TestClient, records: Records) -> None:
    records.whole_study()

    (study,) = client.get("/api/studies").json()["studies"]

    assert study["state"] == "delivered"
    assert study["modalities"] == ["CT"]
    assert study["findings"] == [{"label": "Lung tumour", "evaluation": "present", "probability": 0.873}]
    assert "patient_name" not in study


def test_one_study_is_given_whole(client: TestClient, records: Records) -> None:
    records.whole_study()

    study = client.get(f"/api/studies/{STUDY}").json()

    assert study["patient_name"] == "Doe^Jane"
    assert study["series"][0]["instances"] == 2
    (analysis,) = study["analyses"]
    assert analysis["decisions"][0]["model"] == "lung_ct"
    assert analysis["findings"][0]["threshold"] == 0.35
    assert analysis["results"][0]["deliveries"][0]["status"] == 0
    assert "path" not in analysis["results"][0]
    assert study["events"][0]["text"] == "First instance received from PACS."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/studies/9.9"),
        ("GET", "/api/studies/abc"),
        ("POST", "/api/studies/9.9/complete"),
        ("GET", "/api/x"),
    ],
)
def test_unknown_things_are_not_found_as_problem_details(client: TestClient, method: str, path: str) -> None:
    answer = client.request(method, path)

    assert answer.status_code == 404
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["status"] == 404
    assert answer.json()["title"] == "Not Found"


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "before=x", "before=1-", "state=lost"])
def test_wrong_query_is_a_problem_that_names_the_parameter(client: TestClient, query: str) -> None:
    answer = client.get(f"/api/studies?{query}" if query != "before=1-" else "/api/studies?before=-1")

    assert answer.status_code == 422
    assert answer.headers["content-type"] == PROBLEM
    assert query.partition("=")[0] in answer.json()["detail"]


def test_release_is_written_once(client: TestClient, records: Records, database: Database) -> None:
    records.study(state=StudyState.RECEIVING)

    first = client.post(f"/api/studies/{STUDY}/complete")
    second = client.post(f"/api/studies/{STUDY}/complete")

    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    with database.reading() as session:
        study = session.get_one(StudyRow, STUDY)
        events = session.scalars(sa.select(EventRow.text)).all()
    assert study.released_at is not None
    assert study.state is StudyState.RECEIVING
    assert [text.split()[0] for text in events] == ["Released"]


def test_release_is_given_anew_when_an_image_came_after_it(
    client: TestClient, records: Records, database: Database
) -> None:
    before_the_last_image = records.at - timedelta(minutes=5)
    records.study(state=StudyState.RECEIVING, released_at=before_the_last_image)

    client.post(f"/api/studies/{STUDY}/complete")

    with database.reading() as session:
        study = session.get_one(StudyRow, STUDY)
    assert study.released_at is not None
    assert study.released_at >= study.last_received_at


@pytest.mark.parametrize("state", [state for state in StudyState if state is not StudyState.RECEIVING])
def test_study_past_receiving_is_not_released(
    client: TestClient, records: Records, database: Database, state: StudyState
) -> None:
    records.study(state=state)

    answer = client.post(f"/api/studies/{STUDY}/complete")

    assert answer.status_code == 409
    assert f"The study is {state}, not receiving" in answer.json()["detail"]
    with database.reading() as session:
        assert session.get_one(StudyRow, STUDY).released_at is None


def test_page_of_another_site_cannot_release_a_study(client: TestClient, records: Records) -> None:
    records.study(state=StudyState.RECEIVING)

    answer = client.post(f"/api/studies/{STUDY}/complete", headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 403


def test_peers_are_given_as_configured(client: TestClient) -> None:
    (peer,) = client.get("/api/peers").json()

    assert peer["ae_title"] == "ARCHIVE"
    assert peer["receives_results"] is True


def test_refusals_are_paged_newest_first(client: TestClient, records: Records) -> None:
    for number in range(3):
        records.refusal(f"reason {number}")

    first = client.get("/api/refusals?limit=2").json()
    second = client.get("/api/refusals", params={"before": first["next"]}).json()

    assert [refusal["reason"] for refusal in first["refusals"]] == ["reason 2", "reason 1"]
    assert [refusal["reason"] for refusal in second["refusals"]] == ["reason 0"]
    assert second["next"] is None


def test_api_describes_itself(client: TestClient) -> None:
    paths = client.get("/api/openapi.json").json()["paths"]

    assert set(paths) >= {
        "/api/studies",
        "/api/studies/{study_instance_uid}",
        "/api/studies/{study_instance_uid}/complete",
        "/api/studies/{study_instance_uid}/retry",
        "/api/studies/{study_instance_uid}/reanalyse",
        "/api/studies/{study_instance_uid}/send",
        "/api/studies/{study_instance_uid}/cancel",
        "/api/peers",
        "/api/peers/{name}/echo",
        "/api/refusals",
        "/api/commitment-requests",
        "/api/audit",
        "/api/audit/export",
        "/api/users",
        "/api/keys",
        "/healthz",
        "/readyz",
    }
