"""Models in a real browser: an image is tried, a version whose training is followed is promoted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import uvicorn
from fastapi import FastAPI

from dicom_node.config import Config
from dicom_node.database import Database, ModelVersionRow, now
from dicom_node.domain import Role, VersionState
from dicom_node.inference.models import Models
from dicom_node.web.app import create_app
from tests.inference.bundles import TORCH, write_bundle
from tests.training.images import write_image
from tests.web.conftest import log_in
from tests.web.test_live_page import browser, server  # noqa: F401 - fixtures

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "tiny"
ESTIMATE = {"value": 0.9, "low": 0.8, "high": 0.95}
EVALUATION = {"images": 12, "overall": {"roc_auc": ESTIMATE}, "findings": {}}


@pytest.fixture
def app(config: Config, database: Database) -> FastAPI:
    write_bundle(config.node.models_folder / NAME)
    models = Models(config.node.models_folder, TORCH)
    models.load()
    web = config.web.model_copy(update={"predict": True})
    return create_app(config.model_copy(update={"web": web}), database, models)


@pytest.fixture
def admin_page(browser: Browser, server: uvicorn.Server, app: FastAPI) -> Iterator[Page]:  # noqa: F811
    address = f"http://127.0.0.1:{server.config.port}"
    opened = browser.new_page(base_url=address)
    token = log_in(app, Role.ADMIN).cookies["dicom-node-0"]
    opened.context.add_cookies([{"name": f"dicom-node-{server.config.port}", "value": token, "url": address}])
    faults: list[str] = []
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("console", lambda line: faults.append(line.text) if "Content Security Policy" in line.text else None)
    yield opened
    opened.close()
    assert not faults


def test_an_image_is_tried_and_shown_with_where_the_model_looked(admin_page: Page, tmp_path: Path) -> None:
    image = write_image(tmp_path / "hand.png", 1, bright=True)
    admin_page.goto("/try")

    admin_page.get_by_label("Choose files").set_input_files(image)
    admin_page.get_by_label("Model").select_option(NAME)
    admin_page.get_by_role("button", name="Read").click()

    admin_page.get_by_role("heading", name="Tumour").wait_for(timeout=30_000)
    shown = admin_page.locator(".beside img")
    assert shown.count() >= 1
    assert shown.first.evaluate("image => image.naturalWidth") > 0


def test_a_training_is_followed_without_reload_and_its_version_promoted(
    admin_page: Page, app: FastAPI, config: Config, database: Database
) -> None:
    row = ModelVersionRow(
        model=NAME,
        version="1.2.3+site.1",
        base_version="1.2.3",
        state=VersionState.TRAINING,
        data=[],
        requested_by="admin",
        requested_at=now(),
    )
    with database.session.begin() as session:
        session.add(row)
    write_bundle(config.versions_folder / str(row.id) / "models" / NAME)
    admin_page.goto(f"/models/{NAME}")
    admin_page.evaluate("window.sameDocument = true")
    admin_page.get_by_text("getting ready").wait_for()

    run = config.versions_folder / str(row.id) / "runs" / NAME
    run.mkdir(parents=True)
    epoch = {"number": 1, "training_loss": 0.6, "validation_loss": 0.5, "validation_auc": 0.8}
    (run / "progress.json").write_text(json.dumps({"epochs_of_each": 2, "fits": [[epoch]]}))
    admin_page.get_by_text("epoch 1 of 2").wait_for(timeout=15_000)
    admin_page.locator("#versions-live .plot canvas").wait_for(timeout=15_000)

    with database.session.begin() as session:
        held = session.get_one(ModelVersionRow, row.id)
        held.state, held.comparison = VersionState.TRAINED, {"candidate": EVALUATION, "in_use": EVALUATION}
    admin_page.get_by_text("on the same 12 test images").wait_for(timeout=15_000)
    assert admin_page.evaluate("window.sameDocument")
    admin_page.get_by_role("button", name="Promote").click()

    admin_page.get_by_role("button", name="Go back to it").wait_for(timeout=15_000)
    admin_page.get_by_text("Version 1.2.3+site.1 is in use.").wait_for()
