import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from dicom_node.domain import NotApplicable
from dicom_node.inference.backends.torch_network import TorchNetwork
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleDefinition, BundleError
from dicom_node.inference.discovery import check_bundle, discover_bundles
from tests.inference.bundles import INFERENCE, MANIFEST, METADATA, TORCH, write_bundle


def _module(bundle: Bundle) -> nn.Module:
    assert isinstance(bundle.network, TorchNetwork)
    return bundle.network.module


def test_bundle_knows_its_name_version_and_digest(tiny_folder: Path, tiny_bundle: Bundle) -> None:
    digest = hashlib.sha256((tiny_folder / "models/model.pt").read_bytes()).hexdigest()
    assert (tiny_bundle.name, tiny_bundle.version) == ("tiny", "1.2.3")
    assert tiny_bundle.identity.weights_digest == digest


def test_network_is_ready_to_infer(tiny_bundle: Bundle) -> None:
    assert not _module(tiny_bundle).training


@pytest.mark.parametrize("key", ["model", "state_dict"])
def test_weights_may_lie_in_a_checkpoint(tmp_path: Path, tiny_bundle: Bundle, key: str) -> None:
    folder = write_bundle(tmp_path / "wrapped")
    torch.save({key: _module(tiny_bundle).state_dict(), "epoch": 3}, folder / "models/model.pt")
    loaded = _module(Bundle.load(folder, TORCH)).state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in _module(tiny_bundle).state_dict().items())


def test_half_precision_weights_are_run_in_single_precision(tmp_path: Path, tiny_bundle: Bundle) -> None:
    folder = write_bundle(tmp_path / "half")
    half = {name: tensor.half() for name, tensor in _module(tiny_bundle).state_dict().items()}
    torch.save(half, folder / "models/model.pt")
    assert next(_module(Bundle.load(folder, TORCH)).parameters()).dtype is torch.float32


def test_file_loading_of_a_model_zoo_bundle_is_left_to_the_node(tmp_path: Path) -> None:
    loading: list[dict[str, Any]] = [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
    ]
    transforms = loading + INFERENCE["preprocessing"]["transforms"]
    inference = {**INFERENCE, "preprocessing": {"_target_": "Compose", "transforms": transforms}}
    bundle = Bundle.load(write_bundle(tmp_path / "zoo", inference=inference), TORCH)
    assert bundle.preprocessing(torch.rand(20, 30).numpy()).pixels.shape == (1, 32, 32)


@pytest.mark.parametrize(
    "file", ["configs/metadata.json", "configs/inference.json", "configs/node.yaml", "models/model.pt"]
)
def test_missing_file_is_named(tmp_path: Path, file: str) -> None:
    folder = write_bundle(tmp_path / "broken")
    (folder / file).unlink()
    with pytest.raises(BundleError, match=file.replace(".", r"\.")):
        Bundle.load(folder, TORCH)


def test_incomplete_metadata_says_what_to_add(tmp_path: Path) -> None:
    metadata = {key: value for key, value in METADATA.items() if key not in ("version", "task")}
    with pytest.raises(BundleError, match="add version, task"):
        BundleDefinition.load(write_bundle_configs(tmp_path, "metadata.json", metadata))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "other")
    torch.save({"weight": torch.ones(1)}, folder / "models/model.pt")
    with pytest.raises(BundleError, match="do not fit network_def"):
        Bundle.load(folder, TORCH)


def test_weights_that_would_run_code_are_refused(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "pickled")
    torch.save(Path, folder / "models/model.pt")
    with pytest.raises(BundleError, match="no PyTorch state dict"):
        Bundle.load(folder, TORCH)


def test_unknown_network_is_refused_by_name(tmp_path: Path) -> None:
    folder = write_bundle_configs(tmp_path, "inference.json", {**INFERENCE, "network_def": {"_target_": "NoSuchNet"}})
    with pytest.raises(BundleError, match="network_def cannot be built"):
        BundleDefinition.load(folder).network()


def test_disabled_bundle_is_found_but_not_loaded(tmp_path: Path) -> None:
    write_bundle(tmp_path / "off", manifest={**MANIFEST, "enabled": False})
    (found,) = discover_bundles(tmp_path)
    assert not found.manifest.enabled
    with pytest.raises(BundleError, match="disabled"):
        Bundle.load(found.folder, TORCH)


def test_folders_that_are_no_bundles_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    write_bundle(tmp_path / "b")
    write_bundle(tmp_path / "a")
    assert [bundle.name for bundle in discover_bundles(tmp_path)] == ["a", "b"]


def test_missing_models_folder_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="Set the models folder"):
        discover_bundles(tmp_path / "nowhere")


def test_check_names_everything_that_is_wrong(tmp_path: Path) -> None:
    manifest = {**MANIFEST, "saliency": {"target_layer": "layer9"}}
    metadata = {**METADATA, "network_data_format": {"outputs": {"pred": {"num_channels": 5}}}}
    folder = write_bundle(tmp_path / "odd", manifest=manifest, metadata=metadata)
    (folder / "models/model.pt").unlink()
    text = "\n".join(check_bundle(folder))
    assert "model.pt: missing" in text
    assert "README.md: missing" in text
    assert "'layer9' is not a layer" in text
    assert "5 outputs" in text


def write_bundle_configs(folder: Path, name: str, content: dict[str, Any]) -> Path:
    write_bundle(folder / "bundle")
    (folder / "bundle/configs" / name).write_text(json.dumps(content), encoding="utf-8")
    return folder / "bundle"


def test_expressions_may_use_what_the_bundle_imports(tmp_path: Path) -> None:
    crop = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "select_fn": "@bright"}
    transforms = [crop, *INFERENCE["preprocessing"]["transforms"]]
    inference = {
        **INFERENCE,
        "imports": ["$import torch"],
        "bright": "$lambda x: torch.gt(x, 0.5)",
        "preprocessing": {"_target_": "Compose", "transforms": transforms},
    }
    bundle = Bundle.load(write_bundle(tmp_path / "expressive", inference=inference), TORCH)
    grey = torch.zeros(20, 30)
    grey[5:9, 10:18] = torch.rand(4, 8) / 4 + 0.7
    corner = bundle.preprocessing(grey.numpy()).affine[:2, 2] - np.array([4, 8]) / 64
    assert (corner + 0.5).tolist() == [5.0, 10.0]


def test_image_that_the_transforms_cannot_take_is_not_applicable(tmp_path: Path) -> None:
    crop = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "allow_smaller": True}
    transforms = [crop, *INFERENCE["preprocessing"]["transforms"]]
    inference = {**INFERENCE, "preprocessing": {"_target_": "Compose", "transforms": transforms}}
    bundle = Bundle.load(write_bundle(tmp_path / "cropping", inference=inference), TORCH)
    with pytest.raises(NotApplicable, match="20 x 30 pixels"):
        bundle.preprocessing(torch.zeros(20, 30).numpy())
