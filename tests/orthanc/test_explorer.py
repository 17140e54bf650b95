"""The study page of Orthanc Explorer in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.orthanc.peers import ListeningNode, RoutingOrthanc, tiny_study

CHROMIUM = Path("/usr/bin/chromium")


@pytest.fixture
def page() -> Iterator[Page]:
    """A page of a headless browser."""
    if not CHROMIUM.is_file():
        pytest.skip("Chromium is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser.new_page()
        browser.close()


def test_the_study_page_sends_by_hand_and_leads_to_the_node(
    page: Page, node: ListeningNode, orthanc: RoutingOrthanc
) -> None:
    study = tiny_study(modality="MR")
    identifier = orthanc.upload(study)
    page.goto(f"{orthanc.url}/app/explorer.html#study?uuid={identifier}")
    expect(page.locator("#dicom-node-state")).to_have_text("not sent")

    page.locator("#dicom-node-send").click()

    expect(page.locator("#dicom-node-state")).to_have_text("not applicable: It is a test.", timeout=15_000)
    assert node.released_with(study) == [2]
    link = page.locator("#dicom-node-page")
    assert link.get_attribute("href") == f"{node.url}/studies/{study[0].StudyInstanceUID}"
