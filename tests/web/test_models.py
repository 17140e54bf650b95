"""The pages and the API of models: what they tell, and who may decide what."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dicom_node.config import Config
from dicom_node.database import Database, now
from dicom_node.domain import Role, VersionState
from dicom_node.lifecycle.decisions import read_deployments
from dicom_node.lifecycle.drift import MINIMUM_CASES
from dicom_node.tables import LabelledDataRow, ModelInputRow, ModelVersionRow
from tests.inference.bundles import MANIFEST, write_bundle
from tests.web.conftest import ANALYSIS, Records, log_in

NAME = "tiny"
ESTIMATE = {"value": 0.9, "low": 0.8, "high": 0.95}
EVALUATION: dict[str, Any] = {
    "model": NAME,
    "weights_digest": "d",
    "images": 30,
    "images_per_class": {"normal": 20, "tumor": 10},
    "overall": {"accuracy": ESTIMATE},
    "confusion_matrix": [[18, 2], [1, 9]],
    "findings": {
        "tumor": {
            "roc_auc": ESTIMATE,
            "operating_points": {
                "balanced": {"threshold": 0.5, "recall": ESTIMATE, "specificity": ESTIMATE, "precision": ESTIMATE},
                "rule_in": {"threshold": 0.8, "recall": ESTIMATE, "specificity": ESTIMATE, "precision": ESTIMATE},
            },
        }
    },
}
CURVES = {
    "weights_digest": "d",
    "findings": {
        "tumor": {"roc": [[0, 0], [0.1, 0.9], [1, 1]], "reliability": [[0.1, 0.05, 20], [0.9, 0.95, 10]]},
    },
}


@pytest.fixture(autouse=True)
def bundle(config: Config) -> None:
    points = {"balanced": {"threshold": 0.5}, "rule_in": {"threshold": 0.9}}
    finding = {**MANIFEST["findings"][0], "operating_points": points}
    folder = write_bundle(config.node.models_folder / NAME, manifest={**MANIFEST, "findings": [finding]})
    (folder / "docs").mkdir()
    (folder / "docs/evaluation.json").write_text(json.dumps(EVALUATION))
    (folder / "docs/curves.json").write_text(json.dumps(CURVES))


@pytest.fixture
def admin(app: FastAPI) -> TestClient:
    return log_in(app, Role.ADMIN)


def _upload(database: Database, config: Config) -> tuple[int, Path]:
    """The number and folder of labelled images."""
    folder = config.labelled_folder / NAME / "set"
    (folder / "files").mkdir(parents=True)
    images = {"train": {"normal": 1, "tumor": 2}}
    row = LabelledDataRow(
        model=NAME, name="set", folder="set", images=images, notes=[], uploaded_by="me", uploaded_at=now()
    )
    with database.session.begin() as session:
        session.add(row)
    return row.id, folder


def _version(database: Database, state: VersionState = VersionState.TRAINED, data: Sequence[int] = ()) -> int:
    row = ModelVersionRow(
        model=NAME,
        version="1.2.3+site.1",
        base_version="1.2.3",
        state=state,
        data=list(data),
        requested_by="admin",
        requested_at=now(),
    )
    with database.session.begin() as session:
        session.add(row)
    return row.id


def test_models_are_listed_with_version_operating_point_and_what_is_wrong(viewer: TestClient) -> None:
    models = {model["name"]: model for model in viewer.get("/api/models").json()}

    assert models[NAME]["version"] == "1.2.3"
    assert [point["name"] for point in models[NAME]["findings"][0]["operating_points"] if point["in_use"]] == [
        "balanced"
    ]
    assert "node.yaml" in models["lung_ct"]["problem"]


def test_metrics_are_those_of_the_bundle(viewer: TestClient) -> None:
    assert viewer.get(f"/api/models/{NAME}/metrics").json() == EVALUATION


def test_a_model_that_is_not_installed_is_not_found(client: TestClient) -> None:
    for path in ("/api/models/none", "/api/models/none/metrics", "/models/none", "/api/models/lung_ct/metrics"):
        assert client.get(path).status_code == 404


def test_figures_of_a_point_whose_threshold_has_changed_since_are_not_shown(viewer: TestClient) -> None:
    points = viewer.get(f"/api/models/{NAME}").json()["summary"]["findings"][0]["operating_points"]

    assert {point["name"]: bool(point["measured"]) for point in points} == {"balanced": True, "rule_in": False}


def test_page_shows_card_figures_and_confusion_matrix(viewer: TestClient) -> None:
    page = viewer.get(f"/models/{NAME}").text

    assert "Confusion matrix" in page
    assert "0.800 to 0.950" in page
    assert "AUC 0.900" in page
    assert "Switch off" not in page  # a viewer decides nothing


def test_operating_point_chosen_by_an_admin_stays_is_told_and_audited(
    admin: TestClient, app: FastAPI, config: Config, database: Database
) -> None:
    answer = admin.put(f"/api/models/{NAME}/findings/tumor/operating-point", json={"operating_point": "rule_in"})

    assert answer.status_code == 200
    with database.reading() as session:
        assert read_deployments(session, config.versions_folder)[NAME].operating_points == {"tumor": "rule_in"}
    assert "it was balanced" in admin.get(f"/models/{NAME}").text
    trail = "".join(path.read_text() for path in config.audit_folder.iterdir())
    assert "Software Configuration" in trail
    assert "rule_in" in trail


@pytest.mark.parametrize(("finding", "point"), [("tumor", "unheard_of"), ("unheard_of", "balanced")])
def test_an_operating_point_that_does_not_exist_is_refused(admin: TestClient, finding: str, point: str) -> None:
    answer = admin.put(f"/api/models/{NAME}/findings/{finding}/operating-point", json={"operating_point": point})

    assert answer.status_code == 409
    assert "unheard_of" in answer.json()["detail"]


def test_a_model_is_switched_off_and_on(admin: TestClient) -> None:
    admin.post(f"/models/{NAME}/switch", data={"enabled": "false", "csrf_token": admin.headers["X-CSRF-Token"]})
    assert admin.get(f"/api/models/{NAME}").json()["summary"]["enabled"] is False

    admin.put(f"/api/models/{NAME}/enabled", json={"enabled": True})
    assert admin.get(f"/api/models/{NAME}").json()["summary"]["enabled"] is True


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", f"/api/models/{NAME}/findings/tumor/operating-point", {"operating_point": "rule_in"}),
        ("PUT", f"/api/models/{NAME}/enabled", {"enabled": False}),
        ("PUT", f"/api/models/{NAME}/version", {"version_id": 0}),
        ("PUT", f"/api/models/{NAME}/shadow", {"version_id": 1}),
        ("DELETE", f"/api/models/{NAME}/versions/1", None),
        ("POST", f"/api/models/{NAME}/versions/1/delete", {"reason": "old"}),
        ("POST", f"/api/models/{NAME}/data/1/delete", {"reason": "old"}),
    ],
)
def test_only_an_admin_decides(client: TestClient, method: str, path: str, body: dict[str, Any] | None) -> None:
    assert client.request(method, path, json=body).status_code == 403


def test_a_trained_version_is_promoted_and_rolled_back(admin: TestClient, database: Database) -> None:
    number = _version(database)

    assert admin.put(f"/api/models/{NAME}/version", json={"version_id": number}).status_code == 200
    with database.reading() as session:
        assert session.get_one(ModelVersionRow, number).state is VersionState.PROMOTED
    assert admin.put(f"/api/models/{NAME}/version", json={"version_id": 0}).status_code == 200
    assert admin.put(f"/api/models/{NAME}/version", json={"version_id": 0}).status_code == 409
    assert admin.put(f"/api/models/{NAME}/version", json={"version_id": number}).status_code == 200


@pytest.mark.parametrize("state", [VersionState.REQUESTED, VersionState.FAILED, VersionState.DISCARDED])
def test_a_version_that_is_not_trained_cannot_be_used(
    admin: TestClient, database: Database, state: VersionState
) -> None:
    number = _version(database, state)

    answer = admin.put(f"/api/models/{NAME}/version", json={"version_id": number})

    assert answer.status_code == 409
    assert state.value in answer.json()["detail"]


def test_a_version_in_shadow_is_not_discarded(admin: TestClient, database: Database) -> None:
    number = _version(database)
    admin.put(f"/api/models/{NAME}/shadow", json={"version_id": number})

    assert admin.delete(f"/api/models/{NAME}/versions/{number}").status_code == 409
    admin.put(f"/api/models/{NAME}/shadow", json={"version_id": None})
    assert admin.delete(f"/api/models/{NAME}/versions/{number}").status_code == 200


def _delete(admin: TestClient, what: str, reason: str = "The trial has ended.") -> httpx.Response:
    return admin.post(f"/api/models/{NAME}/{what}/delete", json={"reason": reason})


def test_a_version_neither_used_nor_in_shadow_is_deleted_for_a_reason_that_is_told_and_audited(
    admin: TestClient, database: Database, config: Config
) -> None:
    number = _version(database)
    folder = config.versions_folder / str(number)
    write_bundle(folder / "models" / NAME)
    for decision in ("shadow", "version"):
        admin.put(f"/api/models/{NAME}/{decision}", json={"version_id": number})
        assert _delete(admin, f"versions/{number}").status_code == 409
    assert folder.is_dir()
    admin.put(f"/api/models/{NAME}/version", json={"version_id": 0})

    answer = _delete(admin, f"versions/{number}")

    assert answer.status_code == 200
    assert not folder.exists()
    page = admin.get(f"/models/{NAME}").text
    assert "1.2.3+site.1 was deleted: The trial has ended." in page
    assert "was deleted" in "".join(path.read_text() for path in config.audit_folder.iterdir())
    assert admin.put(f"/api/models/{NAME}/version", json={"version_id": number}).status_code == 409


@pytest.mark.parametrize("number", [0, 99])
def test_neither_the_installed_version_nor_an_unknown_one_is_deleted(admin: TestClient, number: int) -> None:
    assert _delete(admin, f"versions/{number}").status_code == 409


def test_a_version_that_is_being_trained_and_its_images_are_not_deleted(
    admin: TestClient, database: Database, config: Config
) -> None:
    data, folder = _upload(database, config)
    number = _version(database, VersionState.TRAINING, [data])

    assert "being trained" in _delete(admin, f"versions/{number}").json()["detail"]
    assert "being trained on it" in _delete(admin, f"data/{data}").json()["detail"]
    assert folder.is_dir()


def test_uploaded_images_are_deleted_on_the_page_for_a_reason(
    admin: TestClient, database: Database, config: Config
) -> None:
    data, folder = _upload(database, config)
    form = {"csrf_token": admin.headers["X-CSRF-Token"]}
    address = f"/models/{NAME}/data/{data}/delete"
    assert admin.post(address, data=form | {"reason": " "}).status_code == 422

    page = admin.post(address, data=form | {"reason": "Consent was withdrawn."}).text

    assert not folder.exists()
    assert "Labelled images were deleted: set, 3 images. Consent was withdrawn." in page
    assert _delete(admin, f"data/{data}").status_code == 409


def test_share_of_present_findings_is_counted_by_day(viewer: TestClient, records: Records) -> None:
    records.study()
    records.analysis()
    for number, said in enumerate(["present", "absent", "absent", "present"]):
        records.finding(model=NAME, number=number, name="tumor", evaluation=said, read_at=records.at)
    records.finding(model=NAME, number=9, name="tumor", evaluation="present", read_at=records.at - timedelta(days=40))

    (day,) = viewer.get(f"/api/models/{NAME}").json()["activity"]["days"]

    assert (day["present"], day["asked"]) == (2, 4)


def test_a_population_that_changed_is_said_on_the_page(
    viewer: TestClient, records: Records, database: Database
) -> None:
    records.study()
    records.analysis()
    with database.session.begin() as session:
        session.execute(
            sa.insert(ModelInputRow),
            [
                {
                    "analysis_id": ANALYSIS,
                    "series_instance_uid": "1",
                    "stack_number": number,
                    "model": NAME,
                    "model_version": "1.2.3",
                    "read_at": records.at + timedelta(seconds=number),
                    "seconds": 1.0,
                    "features": {"manufacturer": "ACME" if number < MINIMUM_CASES else "OTHER"},
                }
                for number in range(2 * MINIMUM_CASES)
            ],
        )

    page = viewer.get(f"/models/{NAME}").text

    assert "What this model is given has changed" in page
    assert f"this node&#39;s first {MINIMUM_CASES} cases" in page or f"this node's first {MINIMUM_CASES} cases" in page
    for path in ("/", "/api/overview"):
        assert f"What {NAME} is given has changed" in viewer.get(path).text


def test_a_manifest_that_is_mended_is_seen_without_a_restart(viewer: TestClient, config: Config) -> None:
    assert viewer.get(f"/api/models/{NAME}").json()["summary"]["title"] == "A test"
    manifest = config.node.models_folder / NAME / "configs/node.yaml"

    manifest.write_text(manifest.read_text().replace("A test", "Another title"))

    assert viewer.get(f"/api/models/{NAME}").json()["summary"]["title"] == "Another title"
