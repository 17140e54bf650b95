"""The inference benchmark on a tiny bundle: every row is there, and predictions that differ are a failure."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import command
from benchmarks.equality import compare
from dicom_node.inference.bundle import Bundle
from tests.inference.bundles import TORCH, write_bundle


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    (folder / "Normal").mkdir(parents=True)
    random = np.random.default_rng(0)
    for number in range(5):
        Image.fromarray(random.integers(0, 255, (50, 40), dtype=np.uint8)).save(folder / f"Normal/{number}.png")
    return folder


def test_every_work_is_timed_and_predictions_are_compared(tmp_path: Path, images: Path) -> None:
    write_bundle(tmp_path / "models/tiny")
    out = tmp_path / "out.json"
    options = ["--models", str(tmp_path / "models"), "--rounds", "1", "--slices", "6", "--test", f"tiny={images}"]

    assert command.main(["infer", *options, "--json", str(out)]) == 0

    report = json.loads(out.read_text())
    assert [row["work"] for row in report["rows"]] == [
        "batch 1",
        "batch 16",
        "6 slices: decoding",
        "6 slices: preprocessing",
        "6 slices: network",
        "6 slices: preprocessing and network",
        "6 slices: files to findings and heat maps",
    ]
    assert all(row["dicom-node"] > 0 for row in report["rows"])
    assert all(row["ratio"] == pytest.approx(row["eager PyTorch"] / row["dicom-node"]) for row in report["rows"][:2])
    assert any("0 of 10 decisions change" in note for note in report["notes"])


def test_other_predictions_are_counted(tmp_path: Path, images: Path) -> None:
    said = {}
    for name, bias in (("one", [90.0, 0.0]), ("two", [0.0, 90.0])):
        weights = torch.load(write_bundle(tmp_path / name) / "models/model.pt")
        torch.save(weights | {"fc.bias": torch.tensor(bias)}, tmp_path / name / "models/model.pt")
        said[name] = Bundle.load(tmp_path / name, TORCH)

    compared = compare(said["one"], said["two"], images)

    assert compared.images == 5
    assert compared.greatest_difference > 0.9
    assert compared.decisions_changed == 5, "the class of each; with a threshold of 0 every finding stays present"


def test_a_backend_agrees_with_itself(tmp_path: Path, images: Path) -> None:
    bundle = Bundle.load(write_bundle(tmp_path / "tiny"), TORCH)
    compared = compare(bundle, bundle, images)
    assert (compared.greatest_difference, compared.decisions_changed, compared.decisions) == (0.0, 0, 10)
