import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.inference.backends.torch_network import TorchNetwork
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.reader import ModelReader
from dicom_node.lifecycle.inputs import read_reference
from tests.inference.bundles import MANIFEST, TORCH, write_bundle
from training import metrics
from training.calibration import calibrate_bundle
from training.evaluation import evaluate_bundle
from training.labelled_images import LabelledImage
from training.preparation import prepare
from training.reference import write_reference
from training.training_run import ValidationLogits, train_bundle

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of noise; those with a tumour have a bright disc. Three images a scan."""
    folder = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(0)
    y, x = np.mgrid[:40, :40]
    rows = ["split,class,file,group"]
    for split, count in (("train", 24), ("test", 12)):
        for number in range(count):
            name = ("Normal", "Tumor")[number % 2]
            row, column = random.integers(10, 30, 2)
            disc = ((y - row) ** 2 + (x - column) ** 2 < 60) * 120 * (name == "Tumor")
            pixels = (random.random((40, 40)) * 80 + disc).astype(np.uint8)
            path = folder / split / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
            rows.append(f"{split},{name},{number}.png,{split}{number % 2}{number // 6}")
    (folder / "index.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    models = tmp_path_factory.mktemp("models")
    folder = write_bundle(models / "tiny", manifest={**MANIFEST, "calibration": {"temperature": 1.0}})
    configuration = {
        "epochs": 3,
        "samples_per_epoch": 96,
        "batch_size": 16,
        "learning_rate": 0.01,
        "ema_decay": 0.8,
        "validation": {"folds": 2, "perturbed_copies": 1},
    }
    (folder / "configs/train.json").write_text(json.dumps(configuration), encoding="utf-8")
    train_bundle(folder, data, models / "run", CPU)
    calibrate_bundle(folder, models / "run")
    return folder


def test_trained_bundle_loads_and_tells_the_classes_apart(
    trained: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    figures, curves = evaluate_bundle(trained, data / "test", TORCH, by_group=True)
    assert figures["images_per_class"] == {"normal": 6, "tumor": 6}
    assert figures["findings"]["tumor"]["roc_auc"]["value"] > 0.8
    assert np.sum(figures["confusion_matrix"]) == 12
    assert {row["group"] for row in figures["by_group"]["tumor"]} == {"test00", "test01", "test10", "test11"}
    json.dumps(figures)
    assert curves["findings"]["tumor"]["roc"][-1] == (1.0, 1.0)
    assert sum(images for _, _, images in curves["findings"]["tumor"]["reliability"]) == 12


def test_what_it_was_trained_on_is_kept_with_the_bundle(trained: Path) -> None:
    told = json.loads((trained / "docs/training.json").read_text())
    assert told["images_per_class"] == {"normal": 12, "tumor": 12}
    assert [len(epochs) > 0 for epochs in told["fits"]] == [True, True, True]


def test_the_spread_of_the_training_images_is_kept_for_the_node_to_compare_with(trained: Path, data: Path) -> None:
    assert write_reference(trained, data) == 24
    assert read_reference(trained)["brightness"].cases == 24


def test_every_training_image_was_validated_by_a_network_that_had_not_seen_it(trained: Path) -> None:
    said = ValidationLogits.load(trained.parent / "run")
    assert np.count_nonzero(~said.perturbed) == 24
    assert np.count_nonzero(said.perturbed) == 24


def test_calibration_is_written_into_the_manifest(trained: Path) -> None:
    manifest = Bundle.load(trained, TORCH).manifest
    assert manifest.calibration.temperature != 1.0
    assert set(manifest.findings[0].operating_points) == {"screening", "balanced", "rule_in"}


def test_serving_sees_what_training_saw(trained: Path, data: Path) -> None:
    bundle = Bundle.load(trained, TORCH)
    path = next((data / "test/Tumor").glob("*.png"))
    image = LabelledImage(path, 1, "g")
    seen_in_training = prepare([image], bundle.definition.preprocessing())[image]
    given: list[torch.Tensor] = []
    assert isinstance(bundle.network, TorchNetwork)
    hook = bundle.network.module.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0].clone()))
    ModelReader(bundle).class_probabilities(read_plain_image(path))
    hook.remove()
    assert torch.equal(given[0][0], seen_in_training)
