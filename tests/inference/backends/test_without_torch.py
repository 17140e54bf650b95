"""An installation without PyTorch and MONAI serves a bundle that was exported to ONNX."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.demo.archives import StorageArchive
from dicom_node.demo.modality import send_study
from dicom_node.demo.node import Node
from dicom_node.demo.phantoms import chest_ct
from tests.inference.bundles import write_bundle

ROOT = Path(__file__).resolve().parents[3]

BLOCKED = """
import sys
for name in ("torch", "monai", *{missing}):
    sys.modules[name] = None
from dicom_node.cli import main
sys.argv[0] = "dicom-node"
main()
"""

NOT_INSTALLED = """
import sys
from importlib.machinery import PathFinder


class Finder(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in ("torch", "monai") else super().find_spec(name, path, target)


sys.meta_path = [Finder if finder is PathFinder else finder for finder in sys.meta_path]
"""


@pytest.fixture
def models(exported: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "site/models"
    shutil.copytree(exported, folder / "tiny")
    write_bundle(folder / "unexported")
    return folder


def _run(models: Path, missing: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(models.parent), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment["DICOM_NODE_NODE__MODELS_FOLDER"] = str(models)
    return subprocess.run(
        [sys.executable, "-c", BLOCKED.format(missing=missing), *arguments],
        cwd=models.parent,
        env=environment,
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("missing", [[], ["openvino"]], ids=["OpenVINO", "ONNX Runtime"])
def test_an_exported_bundle_scores_images_without_torch(models: Path, tmp_path: Path, missing: list[str]) -> None:
    picture = tmp_path / "image.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 50), dtype=np.uint8)).save(picture)

    table = tmp_path / "scores.csv"
    done = _run(models, missing, "predict", "--model", "tiny", str(picture), "--csv", str(table))

    assert done.returncode == 0, done.stderr
    row = table.read_text().splitlines()[1].split(",")
    assert float(row[1]) + float(row[2]) == pytest.approx(1, abs=1e-5)


def test_a_node_receives_reads_and_delivers_without_torch(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "blocked").mkdir()
    (tmp_path / "blocked/sitecustomize.py").write_text(NOT_INSTALLED)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'blocked'}:{ROOT}")
    shutil.copytree(exported, tmp_path / "models/tiny")
    settings = {"node": {"models_folder": str(tmp_path / "models")}}
    study = chest_ct(slices=3, size=64)
    uid = study[0].StudyInstanceUID

    with StorageArchive() as archive:
        to = (archive.ae_title, archive.dicom_port)
        with Node(tmp_path / "node", to, quiet_seconds=0.5, settings=settings) as node:
            send_study(study, to_ae_title=node.ae_title, port=node.dicom_port)
            deadline = time.monotonic() + 60
            while len(archive.objects(uid)) < 2 and time.monotonic() < deadline:
                time.sleep(0.1)
            state = node.state(uid)
        assert {item.Modality for item in archive.objects(uid)} == {"SR", "OT"}, state


def test_a_bundle_that_was_not_exported_is_refused_with_the_command(models: Path, tmp_path: Path) -> None:
    done = _run(models, [], "predict", "--model", "unexported", str(models), "--csv", str(tmp_path / "t.csv"))
    assert done.returncode != 0
    assert "python -m training export --model unexported" in done.stderr
    assert "Traceback" not in done.stderr
