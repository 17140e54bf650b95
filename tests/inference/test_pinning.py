from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.config import Config, ConfigurationError, load_config
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.models import Models
from dicom_node.inference.pinning import bundle_digest
from tests.inference.bundles import write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_bundle(tmp_path / "models" / "tiny")
    return tmp_path / "models"


def _models(folder: Path, pinned: dict[str, str]) -> Models:
    config = Config.model_validate({"node": {"models_folder": folder, "bundle_digests": pinned}})
    return Models(folder, Backend.configured(config), config.node.bundle_digests)


def test_bundle_with_the_pinned_digest_is_opened(folder: Path) -> None:
    assert list(_models(folder, {"tiny": bundle_digest(folder / "tiny")}).manifests) == ["tiny"]


@pytest.mark.parametrize("changed", ["configs/inference.json", "models/model.pt", "scripts/new.py"])
def test_bundle_of_which_a_file_has_changed_is_not_opened(folder: Path, changed: str) -> None:
    pinned = {"tiny": bundle_digest(folder / "tiny")}
    path = folder / "tiny" / changed
    path.parent.mkdir(exist_ok=True)
    path.write_bytes((path.read_bytes() if path.exists() else b"") + b" ")

    models = _models(folder, pinned)

    assert models.manifests == {}
    assert "not those pinned" in models.unavailable["tiny"]


def test_bundle_that_is_not_pinned_is_not_opened_where_others_are(folder: Path) -> None:
    assert "not trusted" in _models(folder, {"other": "0" * 64}).unavailable["tiny"]
    assert list(_models(folder, {}).manifests) == ["tiny"]


def test_digest_leaves_out_documents_and_hidden_files(folder: Path) -> None:
    before = bundle_digest(folder / "tiny")
    (folder / "tiny" / "docs").mkdir(exist_ok=True)
    (folder / "tiny" / "docs" / "README.md").write_text("card")
    (folder / "tiny" / ".DS_Store").touch()

    assert bundle_digest(folder / "tiny") == before


def test_what_is_no_digest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "node.yaml").write_text("node: {bundle_digests: {tiny: abc}}")

    with pytest.raises(ConfigurationError, match="bundle_digests"):
        load_config(tmp_path / "node.yaml")
