from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.domain import Role
from tests.web.conftest import STUDY, Records, log_in


@pytest.fixture
def admin(app: FastAPI) -> TestClient:
    return log_in(app, Role.ADMIN)


def _token(client: TestClient) -> dict[str, str]:
    return {"csrf_token": client.headers.pop("X-CSRF-Token")}


def test_user_made_on_the_page_logs_in_with_the_password_shown_once(
    admin: TestClient, anonymous: TestClient, config: Config
) -> None:
    token = _token(admin)

    page = admin.post("/access/users", data=token | {"name": "jane", "role": "operator"})

    password = page.text.partition("<code>")[2].partition("</code>")[0]
    entered = anonymous.post("/login", data={"name": "jane", "password": password})
    assert entered.status_code == 303
    assert password not in admin.get("/access").text
    trail = "".join(path.read_text() for path in Path(config.audit_folder).iterdir())
    assert "user jane made, operator" in trail
    assert password not in trail


def test_users_are_changed_through_the_api_and_the_last_administrator_stays(admin: TestClient) -> None:
    made = admin.post("/api/users", json={"name": "max", "role": "viewer"})

    assert made.status_code == 201
    assert admin.post("/api/users", json={"name": "max", "role": "viewer"}).status_code == 409
    assert admin.patch("/api/users/max", json={"role": "operator", "enabled": False}).status_code == 204
    [user] = [user for user in admin.get("/api/users").json() if user["name"] == "max"]
    assert user["role"] == "operator"
    assert user["disabled_at"] is not None
    last = admin.patch("/api/users/admin", json={"role": "viewer"})
    assert last.status_code == 409
    assert "only administrator" in last.json()["detail"]
    assert admin.post("/api/users/nobody/password").status_code == 409


def test_key_made_in_the_api_opens_until_it_is_revoked(admin: TestClient, anonymous: TestClient) -> None:
    made = admin.post("/api/keys", json={"name": "orthanc", "role": "viewer", "days": 3}).json()
    headers = {"Authorization": f"Bearer {made['secret']}"}

    before = anonymous.get("/api/peers", headers=headers).status_code
    assert admin.delete(f"/api/keys/{made['key_id']}").status_code == 204
    after = anonymous.get("/api/peers", headers=headers).status_code

    assert (before, after) == (200, 401)
    assert made["secret"] not in admin.get("/api/keys").text
    assert "revoked" in admin.get("/access").text


@pytest.mark.parametrize(
    "path", ["/audit", "/access", "/api/audit", "/api/audit/export?format=csv", "/api/users", "/api/keys"]
)
def test_operator_sees_neither_trail_nor_users(client: TestClient, path: str) -> None:
    answer = client.get(path)

    assert answer.status_code == 403
    assert "admin" in answer.text


def test_trail_is_searched_and_shows_who_saw_which_patient(
    admin: TestClient, client: TestClient, records: Records
) -> None:
    records.whole_study()
    client.get(f"/studies/{STUDY}")

    page = admin.get("/audit", params={"q": "pid-7"}).text
    found = admin.get("/api/audit", params={"q": "PID-7"}).json()

    assert "DICOM Instances Accessed" in page
    assert "operator" in page
    [event] = found["events"]
    assert (event["by"], event["patient_id"], event["study_instance_uid"]) == ("operator", "PID-7", STUDY)
    assert admin.get("/api/audit", params={"q": "nothing at all"}).json() == {"events": [], "next": None}
    assert admin.get("/api/audit", params={"first": "2020-01-01", "last": "2020-01-02"}).json()["events"] == []
    assert "Audit Log Used" in admin.get("/audit").text


def test_trail_is_exported_whole_as_csv_and_json_lines(admin: TestClient, config: Config) -> None:
    for number in range(60):
        admin.post("/api/keys", json={"name": "=HYPERLINK()" if number == 0 else f"k{number}", "role": "viewer"})

    page = admin.get("/api/audit", params={"limit": 50, "q": "API key"}).json()
    rest = admin.get("/api/audit", params={"limit": 50, "q": "API key", "skip": page["next"]}).json()
    lines = admin.get("/api/audit/export", params={"format": "jsonl", "q": "API key"})
    table = admin.get("/api/audit/export", params={"format": "csv", "q": "API key"})

    assert len(page["events"]) + len(rest["events"]) == 60
    assert rest["next"] is None
    assert len([json.loads(line) for line in lines.text.splitlines()]) == 60
    assert len(list(csv.DictReader(io.StringIO(table.text)))) == 60
    assert "attachment" in table.headers["content-disposition"]


def test_line_cut_short_does_not_hide_the_others(admin: TestClient, config: Config, records: Records) -> None:
    admin.post("/api/keys", json={"name": "orthanc", "role": "viewer"})
    [path] = Path(config.audit_folder).iterdir()
    with path.open("a", encoding="utf-8") as file:
        file.write("<AuditMessage><EventIdenti\n")

    assert len(admin.get("/api/audit").json()["events"]) >= 1
