from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.database import Database
from dicom_node.domain import DeliveryState, Role, StudyState
from dicom_node.tables import DeliveryRow, SessionRow
from tests.web.conftest import STUDY, Records, log_in

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

AXE = Path(os.environ.get("AXE", "axe.min.js"))


@pytest.fixture
def page(browser: Browser, server: uvicorn.Server, client: TestClient) -> Iterator[Page]:
    """A page of the running server in an operator's browser; a script error or a breach of the CSP fails the test."""
    opened = _open(browser, server, client)
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    yield opened
    opened.close()
    assert not faults


def _open(browser: Browser, server: uvicorn.Server, client: TestClient, **options: str) -> Page:
    """A page of the running server in the browser of the client's user."""
    address = f"http://127.0.0.1:{server.config.port}"
    opened = browser.new_page(base_url=address, **options)  # type: ignore[arg-type]
    token = client.cookies["dicom-node-0"]
    opened.context.add_cookies([{"name": f"dicom-node-{server.config.port}", "value": token, "url": address}])
    return opened


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


def test_page_asks_by_itself_where_no_stream_gets_through(page: Page, records: Records) -> None:
    page.clock.install()
    page.route("**/changes", lambda route: route.abort())
    page.goto("/studies")
    records.whole_study()

    page.clock.fast_forward(31_000)

    page.get_by_role("link", name="CT chest").wait_for(timeout=10_000)
    page.get_by_text("Updated every 30 s").wait_for()


def test_page_in_the_background_holds_no_connection_and_catches_up(page: Page, records: Records) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto("/studies")
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true}); "
    tell = "document.dispatchEvent(new Event('visibilitychange'))"
    page.get_by_text("Live", exact=True).wait_for()
    page.wait_for_timeout(2500)
    page.evaluate(hide % "true" + tell)
    page.wait_for_timeout(1000)
    held = len(asked)

    records.whole_study()
    page.wait_for_timeout(2500)
    assert len(asked) == held
    page.evaluate(hide % "false" + tell)

    page.get_by_role("link", name="CT chest").wait_for(timeout=5_000)


def test_failed_delivery_is_understood_and_retried(page: Page, records: Records, database: Database) -> None:
    records.study(state=StudyState.FAILED, reason="Not delivered. archive: cannot understand (0xC000).")
    records.series()
    records.analysis(state=StudyState.FAILED)
    records.result()
    records.delivery(state=DeliveryState.PARKED, status=0xC000, message="refused for good: cannot understand (0xC000)")
    page.goto("/")

    page.get_by_role("article").filter(has_text="archive refused 1 result for good").get_by_role("link").click()
    page.get_by_text("the peer cannot understand the object").wait_for()
    page.get_by_text("Try delivery again").first.press("Enter")
    page.get_by_label("Reason").first.fill("the archive was updated")
    page.get_by_role("button", name="Try delivery again").click()

    page.get_by_text("is tried again, asked for by operator: the archive was updated").wait_for()
    with database.reading() as session:
        assert session.scalars(sa.select(DeliveryRow.state)).all() == [DeliveryState.RETRYING]


def test_half_typed_reason_stays_while_the_page_follows(page: Page, records: Records) -> None:
    records.whole_study()
    page.goto(f"/studies/{STUDY}")
    page.get_by_text("Analyse again").first.click()
    page.get_by_label("Reason").last.fill("a new mod")

    records.event("Something else happened.")
    page.get_by_text("Something else happened.").wait_for(timeout=10_000)

    assert page.get_by_label("Reason").last.input_value() == "a new mod"
    assert page.get_by_label("Reason").last.is_visible()


def test_viewer_is_shown_neither_patient_nor_action(
    browser: Browser, server: uvicorn.Server, viewer: TestClient, records: Records
) -> None:
    records.whole_study()
    page = _open(browser, server, viewer)

    page.goto(f"/studies/{STUDY}")

    page.get_by_text("shown to operators").first.wait_for()
    assert page.get_by_role("heading", name="Actions").count() == 0
    assert page.get_by_role("link", name="Rules").count() == 0
    assert page.locator("main img").count() == 0
    page.close()


def faults(page: Page) -> list[tuple[str, str, list[str]]]:
    """The serious faults that axe finds on a page; skips where axe is missing."""
    if not AXE.is_file():
        pytest.skip("axe-core is missing: AXE names its axe.min.js")
    page.evaluate(AXE.read_text(encoding="utf-8"))
    return [
        (page.url, fault["id"], [node["html"][:120] for node in fault["nodes"]])
        for fault in page.evaluate("axe.run()")["violations"]
        if fault["impact"] in ("serious", "critical")
    ]


PAGES = ("/", "/studies", f"/studies/{STUDY}", "/models", "/rules", "/peers", "/audit", "/access", "/account")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault(
    browser: Browser, server: uvicorn.Server, app: FastAPI, records: Records, scheme: str
) -> None:
    records.whole_study()
    records.refusal("data set ends inside an element")
    page = _open(browser, server, log_in(app, Role.ADMIN), color_scheme=scheme)
    found = []
    for path in PAGES:
        page.goto(path)
        found += faults(page)
    page.close()

    assert found == []
