from __future__ import annotations

import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.domain import Role
from dicom_node.tables import Base
from dicom_node.web import create_app
from dicom_node.web.security import SECURITY_HEADERS
from tests.web.conftest import STUDY, Records, log_in


@pytest.fixture
def broken(config: Config, database: Database) -> TestClient:
    """An application with a route that fails in a way nobody foresaw."""
    app: FastAPI = create_app(config, database)

    @app.get("/broken")
    @app.get("/api/broken")
    def fail() -> None:
        raise RuntimeError("secret detail")

    return log_in(app, Role.OPERATOR)


@pytest.mark.parametrize(
    "path", ["/", f"/studies/{STUDY}", "/peers", "/nothing", "/api/studies", "/healthz", "/broken"]
)
def test_every_answer_carries_the_security_headers(broken: TestClient, records: Records, path: str) -> None:
    records.whole_study()

    headers = broken.get(path).headers

    assert {name: headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS


def test_pages_load_nothing_from_elsewhere_and_carry_no_inline_code(client: TestClient, records: Records) -> None:
    records.whole_study()

    for path in ("/", f"/studies/{STUDY}", "/peers", "/nothing"):
        text = client.get(path).text
        assert all(address.startswith(("/", "#")) for address in re.findall(r'(?:src|href)="([^"]*)"', text))
        assert not re.search(r"<script(?![^>]* src=)|\sstyle=|<style|\son\w+=", text)


@pytest.mark.parametrize("file", ["style.css", "live.js", "logo.svg", "vendor/htmx/htmx-4.0.1.min.js"])
def test_static_files_are_served_and_may_be_kept(client: TestClient, file: str) -> None:
    answer = client.get(f"/static/{file}")

    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-cache"


def test_unforeseen_error_is_told_without_its_details(broken: TestClient) -> None:
    page, api = broken.get("/broken"), broken.get("/api/broken")

    assert (page.status_code, api.status_code) == (500, 500)
    assert "Something unforeseen" in page.text
    assert api.headers["content-type"] == "application/problem+json"
    for text in (page.text, api.text):
        assert "secret detail" not in text
        assert "Traceback" not in text


def test_broken_database_is_told_with_what_to_do(client: TestClient, database: Database) -> None:
    Base.metadata.drop_all(database.engine)

    page, api = client.get("/"), client.get("/api/studies")

    assert (page.status_code, api.status_code) == (503, 503)
    assert "dicom-node check" in page.text
    assert "dicom-node check" in api.json()["detail"]


def test_wrong_method_is_a_problem(client: TestClient) -> None:
    answer = client.delete("/api/studies")

    assert answer.status_code == 405
    assert answer.headers["content-type"] == "application/problem+json"
    assert "GET" in answer.headers["allow"]
