"""Models in a real browser: an image is tried, a version whose training is followed is promoted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
import uvicorn
from fastapi import FastAPI

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import Role, VersionState
from dicom_node.inference.models import Models
from dicom_node.lifecycle.decisions import record_change, run_in_shadow
from dicom_node.lifecycle.feedback import give_verdict
from dicom_node.tables import LabelledDataRow, ModelVersionRow
from dicom_node.web.app import create_app
from tests.faults.mortal_worker import mortal_worker
from tests.inference.bundles import MANIFEST, TORCH, write_bundle
from tests.test_retraining import TRAIN_JSON
from tests.training.images import write_classes, write_image
from tests.web.conftest import STUDY, Records, log_in
from tests.web.test_live_page import faults

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAME = "tiny"
ESTIMATE = {"value": 0.9, "low": 0.8, "high": 0.95}
Scheme = Literal["light", "dark"]
SECONDS = 400_000  # in milliseconds: of a busy machine
EVALUATION = {"images": 12, "overall": {"roc_auc": ESTIMATE}, "findings": {}}


@pytest.fixture
def app(config: Config, database: Database) -> FastAPI:
    manifest = {**MANIFEST, "kind": "radiograph", "input": {"channels": 1}}
    bundle = write_bundle(config.node.models_folder / NAME, manifest=manifest)
    (bundle / "configs/train.json").write_text(json.dumps(TRAIN_JSON))
    models = Models(config.node.models_folder, TORCH)
    models.load()
    web = config.web.model_copy(update={"predict": True})
    return create_app(config.model_copy(update={"web": web}), database, models)


@pytest.fixture
def admin_page(browser: Browser, server: uvicorn.Server, app: FastAPI) -> Iterator[Page]:
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


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_fault_on_the_pages_of_models(
    admin_page: Page, records: Records, config: Config, database: Database, tmp_path: Path, scheme: Scheme
) -> None:
    _fill(records, config, database)
    admin_page.emulate_media(color_scheme=scheme)
    found = []
    for path in ("/models", f"/models/{NAME}", f"/studies/{STUDY}"):
        admin_page.goto(path)
        for hidden in admin_page.locator("summary").all():
            hidden.click()
        found += faults(admin_page)
    admin_page.goto("/try")
    admin_page.get_by_label("Choose files").set_input_files(write_image(tmp_path / "hand.png", 1, bright=True))
    admin_page.get_by_label("Model").select_option(NAME)
    admin_page.get_by_role("button", name="Read").click()
    admin_page.locator(".beside img").first.wait_for(timeout=30_000)

    assert found + faults(admin_page) == []


def _fill(records: Records, config: Config, database: Database) -> None:
    """Everything that the pages of a model can show."""
    records.whole_study()
    for number, at in enumerate((records.at, records.at - timedelta(days=1))):
        records.finding(model=NAME, name="tumor", number=7 + number, read_at=at)
    bundle = config.node.models_folder / NAME / "docs"
    bundle.mkdir()
    figures = {"threshold": 0.0, "recall": ESTIMATE, "specificity": ESTIMATE, "precision": ESTIMATE}
    finding = {"roc_auc": ESTIMATE, "operating_points": {"balanced": figures}}
    evaluation = EVALUATION | {
        "weights_digest": "d",
        "images_per_class": {"normal": 6, "tumor": 6},
        "confusion_matrix": [[5, 1], [0, 6]],
        "findings": {"tumor": finding},
    }
    (bundle / "evaluation.json").write_text(json.dumps(evaluation))
    curves = {"roc": [[0, 0], [0.1, 0.9], [1, 1]], "reliability": [[0.1, 0.05, 20], [0.9, 0.95, 10]]}
    (bundle / "curves.json").write_text(json.dumps({"weights_digest": "d", "findings": {"tumor": curves}}))
    write_image(bundle / "saliency" / "one.png", 3)
    asked = {"model": NAME, "base_version": "1.2.3", "data": [], "requested_by": "admin", "requested_at": now()}
    compared = {"candidate": evaluation, "in_use": evaluation}
    rows = [
        ModelVersionRow(version="1.2.3+site.1", state=VersionState.PROMOTED, comparison=compared, **asked),
        ModelVersionRow(version="1.2.3+site.2", state=VersionState.TRAINED, comparison=compared, **asked),
        ModelVersionRow(version="1.2.3+site.3", state=VersionState.FAILED, reason="The images are refused.", **asked),
        ModelVersionRow(version="1.2.3+site.4", state=VersionState.TRAINING, **asked),
    ]
    with database.session.begin() as session:
        for row in rows:
            session.add(row)
            session.flush()
            (config.versions_folder / str(row.id)).mkdir(parents=True)
        images = {"train": {"normal": 5, "tumor": 5}, "test": {"normal": 6, "tumor": 6}}
        notes = ["Two images are alike."]
        session.add(
            LabelledDataRow(
                model=NAME, name="Ward 3", folder="a", images=images, notes=notes, uploaded_by="me", uploaded_at=now()
            )
        )
        record_change(session, NAME, "admin", "Version 1.2.3+site.1 is in use.")
        give_verdict(session, STUDY, 1, "reader", right=True, note="Clear.")
        run_in_shadow(session, NAME, rows[1].id, "admin")
    run = config.versions_folder / str(rows[3].id) / "runs" / NAME
    run.mkdir(parents=True)
    epochs = [{"number": n, "training_loss": 0.6 / n, "validation_loss": 0.5, "validation_auc": 0.8} for n in (1, 2)]
    (run / "progress.json").write_text(json.dumps({"epochs_of_each": 8, "fits": [epochs]}))


@pytest.fixture
def worker(config: Config, tmp_path: Path) -> Iterator[None]:
    """A worker in a process of its own that trains for real; its models are stand-ins, since no study comes."""
    with mortal_worker(config, tmp_path):
        yield


@pytest.mark.timeout(600)
@pytest.mark.usefixtures("worker")
def test_a_model_is_retrained_on_uploaded_images_promoted_and_rolled_back(admin_page: Page, tmp_path: Path) -> None:
    for part in ("train", "test"):
        write_classes(tmp_path / "set" / part, 6, seed=len(part))
    archive = shutil.make_archive(str(tmp_path / "labelled"), "zip", tmp_path / "set")
    admin_page.goto(f"/models/{NAME}#versions")
    admin_page.evaluate("window.sameDocument = true")

    admin_page.get_by_label("Zip or images").set_input_files(archive)
    admin_page.get_by_label("What to call them").fill("Ward 3")
    admin_page.get_by_role("button", name="Upload and check").click()
    admin_page.get_by_text("Taken: 24 images").wait_for(timeout=SECONDS)
    admin_page.get_by_role("cell", name="Ward 3").wait_for(timeout=15_000)
    assert admin_page.evaluate("window.sameDocument")

    admin_page.get_by_label("Epochs").fill("3")
    admin_page.get_by_role("button", name="Retrain").click()
    admin_page.evaluate("window.sameDocument = true")
    admin_page.get_by_role("progressbar").wait_for(timeout=SECONDS)
    admin_page.locator("#versions-live .plot canvas").first.wait_for(timeout=15_000)

    admin_page.get_by_text("on the same 12 test images").wait_for(timeout=SECONDS)
    assert admin_page.evaluate("window.sameDocument")
    compared = admin_page.locator("table.compared")
    assert compared.get_by_role("columnheader").all_inner_texts() == ["Figure", "1.2.3", "1.2.3+site.1"]
    assert compared.get_by_role("row").filter(has_text="Accuracy").get_by_text(".").count() >= 2
    admin_page.get_by_role("button", name="Promote").click()
    admin_page.get_by_text("Version 1.2.3+site.1 is in use.").wait_for()

    admin_page.get_by_role("button", name="Go back to it").click()
    admin_page.get_by_text("The version that was installed with the node is in use again.").wait_for()
    admin_page.get_by_role("button", name="Use again").wait_for()
