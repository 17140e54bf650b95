"""Readers judge findings: one verdict each, changeable, counted on the model's page."""

from __future__ import annotations

import pytest
import sqlalchemy as sa
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.lifecycle.feedback import agreement
from dicom_node.tables import FindingRow, VerdictRow
from tests.web.conftest import STUDY, Records


@pytest.fixture
def address(records: Records, database: Database) -> str:
    records.whole_study()
    with database.reading() as session:
        return f"/api/studies/{STUDY}/findings/{session.scalar(sa.select(FindingRow.id))}/verdict"


def test_a_reader_has_one_verdict_and_may_change_it(client: TestClient, database: Database, address: str) -> None:
    assert client.put(address, json={"right": True}).json()["right"] is True
    client.put(address, json={"right": False, "note": "A vessel."})

    with database.reading() as session:
        (row,) = session.scalars(sa.select(VerdictRow))
        (counted,) = agreement(session, "lung_ct")
    assert (row.right, row.note, row.reader, row.model_version) == (False, "A vessel.", "operator", "1.0.0")
    assert (counted.right, counted.judged) == (0, 1)


def test_agreement_comes_with_its_uncertainty(client: TestClient, database: Database, address: str) -> None:
    client.put(address, json={"right": True})

    with database.reading() as session:
        (counted,) = agreement(session, "lung_ct")
    assert counted.share == 1.0
    assert counted.interval == pytest.approx((0.2065, 1.0), abs=1e-3)  # Wilson, 1 of 1


def test_a_verdict_is_shown_with_the_finding_and_audited_with_the_study(
    client: TestClient, config: Config, address: str
) -> None:
    form = {"right": "false", "note": "Pleural fluid.", "csrf_token": client.headers["X-CSRF-Token"]}
    client.post(address.removeprefix("/api"), data=form)

    assert "Pleural fluid." in client.get(f"/studies/{STUDY}").text
    trail = "".join(path.read_text() for path in config.audit_folder.iterdir())
    assert "judged wrong" in trail
    assert STUDY in trail


def test_a_verdict_outlives_the_finding_that_a_repeated_analysis_replaces(
    client: TestClient, database: Database, address: str
) -> None:
    client.put(address, json={"right": True})

    with database.session.begin() as session:
        session.execute(sa.delete(FindingRow))

    with database.reading() as session:
        assert agreement(session, "lung_ct")[0].judged == 1


def test_viewers_judge_nothing_and_unknown_findings_are_not_found(
    viewer: TestClient, client: TestClient, address: str
) -> None:
    assert viewer.put(address, json={"right": True}).status_code == 403
    assert client.put(f"/api/studies/{STUDY}/findings/999/verdict", json={"right": True}).status_code == 404
    assert client.put(address, json={"right": True, "note": "x" * 501}).status_code == 422
