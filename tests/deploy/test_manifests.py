"""What is shipped for containers says what the configuration and the commands understand."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from dicom_node.cli import app
from dicom_node.config import Config, load_config

pytestmark = pytest.mark.embedded

ROOT = Path(__file__).parents[2]
NODE_IMAGES = re.compile(r"^(\$\{DICOM_NODE_IMAGE|dicom-node)")


def _compose() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]


def _kubernetes() -> list[dict[str, Any]]:
    return yaml.safe_load((ROOT / "config" / "kubernetes" / "node.yaml").read_text(encoding="utf-8"))["items"]


def _containers() -> list[dict[str, Any]]:
    workloads = [item for item in _kubernetes() if item["kind"] in ("Deployment", "StatefulSet")]
    return [container for item in workloads for container in item["spec"]["template"]["spec"]["containers"]]


def _node_services() -> dict[str, dict[str, Any]]:
    return {name: service for name, service in _compose().items() if NODE_IMAGES.match(service["image"])}


def _config_from(environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> Config:
    (tmp_path / "password").write_text("secret", encoding="utf-8")
    (tmp_path / "node.yaml").write_text(text, encoding="utf-8")
    for name, value in environment.items():
        if name.startswith("DICOM_NODE_") and name != "DICOM_NODE_CONFIG":
            monkeypatch.setenv(name, str(tmp_path / "password") if name.endswith("PASSWORD_FILE") else value)
    return load_config(tmp_path / "node.yaml")


@pytest.mark.parametrize("name", sorted(_node_services()))
def test_a_composed_node_service_has_a_configuration_that_holds_and_no_rights_to_spare(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = _node_services()[name]
    text = (ROOT / "config" / "compose" / "node.yaml").read_text(encoding="utf-8")

    config = _config_from(service["environment"], tmp_path, monkeypatch, text)

    assert config.database_url == "postgresql+psycopg://dicom_node:secret@database/dicom_node"
    assert [peer.name for peer in config.destinations] == ["archive"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    if "entrypoint" not in service:
        assert service["command"][0] in get_command(app).commands  # type: ignore[attr-defined]
        assert service["healthcheck"]["test"]


def test_each_composed_worker_has_an_id_of_its_own() -> None:
    ids = [service["environment"].get("DICOM_NODE_WORKER__ID") for service in _node_services().values()]
    own = [worker for worker in ids if worker is not None]

    assert len(set(own)) == len(own) >= 5


def test_the_composed_orthanc_knows_node_and_key_where_they_are() -> None:
    text = (ROOT / "config" / "compose" / "orthanc.json").read_text(encoding="utf-8")
    configuration = json.loads(re.sub(r"(^|\s)//.*", "", text))
    services = _compose()

    node = configuration["DicomModalities"]["dicom-node"]
    assert node["Host"] in services
    assert node["AET"] == Config().node.ae_title
    assert configuration["DicomNode"]["Url"] == "http://web:8080"
    assert configuration["DicomNode"]["ApiKeyFile"] in " ".join(services["keys"]["command"])


def test_kubernetes_runs_the_processes_with_a_configuration_that_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [text] = [item["data"]["node.yaml"] for item in _kubernetes() if item["kind"] == "ConfigMap"]
    containers = _containers()

    assert [container["args"] for container in containers] == [["receiver"], ["worker"], ["web"]]
    for container in containers:
        environment = {entry["name"]: entry.get("value", "worker-0") for entry in container["env"]}
        assert _config_from(environment, tmp_path, monkeypatch, text).destinations
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_every_copied_path_of_the_image_exists_and_is_let_through() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY ") and "--from" not in line]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()

    for source in (path for copy in copies for path in copy):
        assert (ROOT / source).exists()
        assert f"!{source}" in ignored


def test_the_workflow_calls_what_there_is() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")

    assert yaml.safe_load(workflow)["jobs"].keys() == {"test", "audit", "image", "release"}
    for target in re.findall(r"run: make (\S+)", workflow):
        assert re.search(rf"^{target}:", makefile, re.M)
