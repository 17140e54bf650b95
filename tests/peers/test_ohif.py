from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect
from pydicom.dataset import Dataset

from dicom_node.demo.archives import Orthanc
from dicom_node.demo.node import Node
from tests.peers import ohif
from tests.peers.traffic import Results, SentStudy, wait_for_results

pytestmark = pytest.mark.skipif(bool(ohif.missing()), reason=ohif.missing())

LOADING_MS = 60_000
NUM, TRACKING_IDENTIFIER = "NUM", "112039"


@pytest.fixture(scope="module")
def viewer(orthanc: Orthanc) -> Iterator[str]:
    with ohif.serve_ohif(ohif.ohif_dist(), orthanc.url) as address:
        yield address


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with ohif.browser_page() as opened:
        yield opened


@pytest.mark.parametrize("sent", ["radiograph_by_orthanc", "ct_by_orthanc"])
def test_the_report_opens_on_the_key_image_with_the_finding_drawn(
    sent: str,
    request: pytest.FixtureRequest,
    node: Node,
    orthanc: Orthanc,
    viewer: str,
    page: Page,
    artefacts: Path,
) -> None:
    study: SentStudy = request.getfixturevalue(sent)
    results = wait_for_results(orthanc, node, study)
    page.goto(f"{viewer}/viewer?StudyInstanceUIDs={study.study_instance_uid}")
    expect(page.get_by_text(series_label(results.reports[0])).first).to_be_visible(timeout=LOADING_MS)
    dismiss_tour(page)

    page.get_by_text(series_label(results.reports[0])).first.dblclick()

    drawn = page.locator("svg.svg-layer :is(path, polyline, line, polygon)")
    expect(drawn.first).to_be_attached(timeout=LOADING_MS)
    page.wait_for_timeout(2000)
    page.screenshot(path=str(artefacts / f"{sent}-report.png"))
    shown = page.inner_text("body") + " ".join(page.locator("svg.svg-layer text").all_text_contents())
    assert probability_name(results.reports[0]) in shown


@pytest.mark.parametrize("sent", ["radiograph_by_orthanc", "ct_by_orthanc"])
def test_the_secondary_capture_opens(
    sent: str,
    request: pytest.FixtureRequest,
    node: Node,
    orthanc: Orthanc,
    viewer: str,
    page: Page,
    artefacts: Path,
) -> None:
    study: SentStudy = request.getfixturevalue(sent)
    results: Results = wait_for_results(orthanc, node, study)
    page.goto(f"{viewer}/viewer?StudyInstanceUIDs={study.study_instance_uid}")
    thumbnail = page.get_by_text(series_label(results.captures[0])).first
    expect(thumbnail).to_be_visible(timeout=LOADING_MS)
    dismiss_tour(page)

    thumbnail.dblclick()

    page.wait_for_timeout(4000)
    page.screenshot(path=str(artefacts / f"{sent}-capture.png"))
    assert canvas_has_colour(page)


def series_label(item: Dataset) -> str:
    """How OHIF's panel names a series."""
    return str(item.SeriesDescription)


def probability_name(report: Dataset) -> str:
    """The concept name of the first number of the report: what OHIF shows beside the region."""
    pending = list(report.ContentSequence)
    while pending:
        item = pending.pop(0)
        if item.ValueType == NUM:
            return str(item.ConceptNameCodeSequence[0].CodeMeaning)
        pending[:0] = list(item.get("ContentSequence", ()))
    raise AssertionError("the report has no number")


def dismiss_tour(page: Page) -> None:
    """Close OHIF's introduction where it shows itself."""
    skip = page.get_by_text("Skip all")
    if skip.count():
        skip.first.click()


def canvas_has_colour(page: Page) -> bool:
    """Whether any pixel of a viewport has a hue: the heat map of the capture, and no grey image, is shown."""
    shot = Image.open(BytesIO(page.locator("canvas").first.screenshot()))
    channels = np.asarray(shot.convert("RGB"), np.int16)
    return bool((np.ptp(channels, axis=2) > 60).mean() > 0.001)
