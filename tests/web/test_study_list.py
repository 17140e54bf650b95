from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import StudyState
from dicom_node.web.queries import studies
from dicom_node.web.queries.studies import Cursor, StudyFilter, list_studies
from tests.web.conftest import Records


def _found(database: Database, **wanted: object) -> list[str]:
    with database.reading() as session:
        page = list_studies(session, StudyFilter(**wanted))  # type: ignore[arg-type]
    return [study.study_instance_uid for study in page.studies]


@pytest.fixture
def three(records: Records) -> None:
    records.study("1.1", timedelta(days=3), calling_ae_title="CT1", patient_id="P-1", patient_name="DOE^JANE")
    records.series("1.1.1", "1.1", modality="CT")
    records.analysis("a1", "1.1")
    records.decision("Read.", model="lung_ct", series="1.1.1", analysis="a1")
    records.study("1.2", timedelta(days=2), calling_ae_title="CT1", patient_id="P-2", patient_name="Roe^Max")
    records.series("1.2.1", "1.2", modality="MR")
    records.study(
        "1.3", timedelta(days=1), calling_ae_title="XR", state=StudyState.FAILED, patient_id="Q-3", patient_name=""
    )
    records.series("1.3.1", "1.3", modality="DX")


@pytest.mark.usefixtures("three")
@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, ["1.3", "1.2", "1.1"]),
        ({"source": "CT1"}, ["1.2", "1.1"]),
        ({"modality": "MR"}, ["1.2"]),
        ({"model": "lung_ct"}, ["1.1"]),
        ({"state": StudyState.FAILED}, ["1.3"]),
        ({"state": StudyState.FAILED, "source": "CT1"}, []),
        ({"patient": "doe^j"}, ["1.1"]),
        ({"patient": "P-"}, ["1.2", "1.1"]),
        ({"patient": "p-2"}, ["1.2"]),
        ({"patient": "Roe^", "modality": "MR"}, ["1.2"]),
    ],
)
def test_filters_find_what_matches_all_of_them(
    database: Database, wanted: dict[str, object], expected: list[str]
) -> None:
    assert _found(database, **wanted) == expected


@pytest.mark.usefixtures("three")
def test_days_bound_the_last_arrival_and_include_both_ends(client: TestClient, records: Records) -> None:
    day = (records.at - timedelta(days=2)).astimezone().date().isoformat()

    found = client.get("/api/studies", params={"received_from": day, "received_to": day}).json()["studies"]

    assert [study["study_instance_uid"] for study in found] == ["1.2"]
    assert client.get("/api/studies?received_from=yesterday").status_code == 422


def test_rare_studies_are_found_page_by_page_without_looking_through_everything(
    database: Database, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(studies, "WINDOW", 4)
    for number in range(10):
        records.study(f"1.{number}", timedelta(minutes=number))
        records.series(f"1.{number}.1", f"1.{number}", instances=0, modality="SM" if number == 9 else "CT")
    pages, before = [], None
    with database.reading() as session:
        while True:
            page = list_studies(session, StudyFilter(modality="SM"), before=before)
            pages.append([study.study_instance_uid for study in page.studies])
            if page.next is None:
                break
            before = Cursor.parse(page.next)

    assert pages == [[], [], ["1.9"]]


def test_search_for_a_patient_is_audited_and_not_for_viewers(
    client: TestClient, viewer: TestClient, config: Config, records: Records
) -> None:
    records.study()

    assert "CT chest" in client.get("/studies?patient=Doe").text
    assert viewer.get("/studies?patient=Doe").status_code == 403
    assert viewer.get("/api/studies?patient=Doe").status_code == 403
    assert 'name="patient"' not in viewer.get("/studies").text
    [trail] = Path(config.audit_folder).iterdir()
    assert trail.read_text().count("110112") == 1


def test_filter_is_kept_on_the_way_to_older_studies(client: TestClient, records: Records) -> None:
    for number in range(51):
        records.study(f"1.{number}", timedelta(minutes=number), calling_ae_title="CT1")
    records.study("1.99", timedelta(), calling_ae_title="XR")

    text = client.get("/studies?source=CT1").text

    assert "1.99" not in text
    assert "source=CT1&amp;before=" in text
