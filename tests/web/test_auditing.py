"""What of the web side is in the audit trail."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from dicom_node import cli
from dicom_node.access.users import Users
from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Role, StudyState
from tests.audit.schema import event_of, read_messages
from tests.web.conftest import CAPTURE, STUDY, Records, log_in, write_capture

VIEW = ("DICOM Instances Accessed", "", "0", "operator")


def test_view_of_a_patient_is_an_event_and_looking_on_is_none(
    client: TestClient, records: Records, config: Config
) -> None:
    records.whole_study()
    write_capture(config.results_folder / "capture.dcm")

    for _ in range(3):
        client.get(f"/studies/{STUDY}")
        client.get(f"/api/studies/{STUDY}")
        client.get(f"/studies/{STUDY}/results/{CAPTURE}.png")

    [message] = read_messages(config.audit_folder)
    assert event_of(message) == VIEW
    assert [item.get("ParticipantObjectID") for item in message.findall("ParticipantObjectIdentification")] == [
        STUDY,
        "PID-7",
    ]


@pytest.mark.parametrize(
    "path", [f"/studies/{STUDY}", f"/api/studies/{STUDY}", f"/studies/{STUDY}/results/{CAPTURE}.png"]
)
def test_each_way_to_see_a_patient_is_an_event(client: TestClient, records: Records, config: Config, path: str) -> None:
    records.whole_study()
    write_capture(config.results_folder / "capture.dcm")

    assert client.get(path).status_code == 200

    assert [event_of(message) for message in read_messages(config.audit_folder)] == [VIEW]


def test_viewer_who_sees_no_patient_leaves_no_view(viewer: TestClient, records: Records, config: Config) -> None:
    records.whole_study()

    viewer.get(f"/studies/{STUDY}")
    viewer.get("/")

    assert read_messages(config.audit_folder) == []


def test_every_download_and_release_is_an_event(client: TestClient, records: Records, config: Config) -> None:
    records.whole_study()
    records.study("1.9", state=StudyState.RECEIVING)
    write_capture(config.results_folder / "capture.dcm")

    client.get(f"/studies/{STUDY}/results/{CAPTURE}.dcm")
    client.get(f"/studies/{STUDY}/results/{CAPTURE}.dcm")
    client.post("/api/studies/1.9/complete")

    messages = read_messages(config.audit_folder)
    assert [event_of(message)[0] for message in messages] == ["Export", "Export", "DICOM Instances Accessed"]
    assert messages[2].find("EventIdentification").get("EventActionCode") == "U"


def test_logins_logouts_and_failures_are_events(
    app: FastAPI, anonymous: TestClient, database: Database, config: Config
) -> None:
    Users(database).add("jane", Role.OPERATOR, "correct horse battery")

    anonymous.post("/login", data={"name": "jane", "password": "wrong"})
    anonymous.post("/login", data={"name": "jane", "password": "correct horse battery"})
    log_in(app, Role.VIEWER).post("/logout")

    assert [event_of(message) for message in read_messages(config.audit_folder)] == [
        ("User Authentication", "Login", "4", "jane"),
        ("User Authentication", "Login", "0", "jane"),
        ("User Authentication", "Logout", "0", "viewer"),
    ]


def test_changes_of_users_and_keys_by_command_are_events(monkeypatch: pytest.MonkeyPatch, config: Config) -> None:
    monkeypatch.setenv("DICOM_NODE_NODE__DATA_FOLDER", str(config.node.data_folder))
    monkeypatch.setenv("DICOM_NODE_CONFIG", "/dev/null")
    run = CliRunner()

    for command in (
        ["user", "add", "jane", "--role", "operator"],
        ["user", "password", "jane"],
        ["user", "role", "jane", "viewer"],
        ["user", "disable", "jane"],
        ["user", "enable", "jane"],
        ["apikey", "add", "router", "--role", "operator", "--days", "30"],
    ):
        result = run.invoke(cli.app, command)
        assert result.exit_code == 0, result.output

    messages = read_messages(config.audit_folder)
    assert [event_of(message)[:2] for message in messages] == [
        ("Security Alert", "User Security Attributes Changed")
    ] * 6
    assert run.invoke(cli.app, ["user", "add", "jane"]).exit_code == 1
    assert run.invoke(cli.app, ["apikey", "revoke", "nothing"]).exit_code == 1
    assert "jane" in run.invoke(cli.app, ["user", "list"]).output
    assert "router" in run.invoke(cli.app, ["apikey", "list"]).output
