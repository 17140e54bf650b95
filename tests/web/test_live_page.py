from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.database import Database, SessionRow
from tests.web.conftest import STUDY, Records

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture
def server(app: FastAPI, free_port: int) -> Iterator[uvicorn.Server]:
    settings = uvicorn.Config(app, port=free_port, log_level="warning", lifespan="off")
    running = uvicorn.Server(settings)
    thread = threading.Thread(target=running.run)
    thread.start()
    while not running.started:
        time.sleep(0.01)
    yield running
    running.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if not CHROMIUM.exists():
        pytest.skip(f"no browser: {CHROMIUM} is missing")
    with api.sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser, server: uvicorn.Server, app: FastAPI, client: TestClient) -> Iterator[Page]:
    """A page of the running server in an operator's browser; a script error or a breach of the CSP fails the test."""
    address = f"http://127.0.0.1:{server.config.port}"
    opened = browser.new_page(base_url=address)
    token = client.cookies["dicom-node-0"]
    opened.context.add_cookies([{"name": f"dicom-node-{server.config.port}", "value": token, "url": address}])
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    yield opened
    opened.close()
    assert not faults


def test_study_appears_and_opens_without_reload(page: Page, records: Records) -> None:
    page.goto("/studies")
    page.evaluate("window.sameDocument = true")
    page.get_by_label("Accession number").fill("half-typed")

    records.whole_study()
    page.get_by_role("link", name="CT chest").wait_for(timeout=10_000)

    assert page.evaluate("window.sameDocument")
    assert page.get_by_label("Accession number").input_value() == "half-typed"
    page.get_by_role("link", name="CT chest").focus()
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="CT chest").wait_for()


def test_study_page_follows_and_leaves_open_what_was_opened(page: Page, records: Records) -> None:
    records.whole_study()
    page.goto(f"/studies/{STUDY}")
    page.get_by_text("How it was read").click()

    records.event("Delivered to archive.")
    page.get_by_text("Delivered to archive.").wait_for(timeout=10_000)

    assert page.get_by_text("Weights").is_visible()


def test_page_says_when_the_node_no_longer_answers(page: Page, server: uvicorn.Server) -> None:
    page.goto("/")
    page.get_by_text("Live", exact=True).wait_for()

    server.should_exit = True

    page.get_by_text("Not updating since").wait_for(timeout=10_000)


def test_page_of_a_session_that_ended_gives_way_to_the_login(page: Page, records: Records, database: Database) -> None:
    records.whole_study()
    page.goto(f"/studies/{STUDY}")
    page.get_by_text("Doe, Jane").wait_for()

    with database.session.begin() as session:
        session.execute(sa.delete(SessionRow))

    page.get_by_role("heading", name="Log in").wait_for(timeout=10_000)
    assert "next=%2Fstudies%2F" in page.url
    assert "Doe" not in page.content()
