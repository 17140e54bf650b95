"""Whatever network ``inference.json`` names is trained, loaded and exported; nothing else knows which it is."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from dicom_node.inference.backends.parity import TOLERANCE
from dicom_node.inference.backends.torch_network import TorchNetwork
from dicom_node.inference.definition import MANIFEST_FILE, BundleDefinition
from tests.inference.bundles import INFERENCE
from tests.training.images import write_classes
from training.onnx_export import export_onnx
from training.training_run import train_bundle

SIDE = 32
RESNET = {"_target_": "ResNet", "spatial_dims": 2, "n_input_channels": 1, "num_classes": 2}

NETWORKS: dict[str, dict[str, Any]] = {
    "ResNet-18": {**RESNET, "block": "basic", "layers": [2, 2, 2, 2], "block_inplanes": [4, 8, 8, 8]},
    "ResNet-50": {**RESNET, "block": "bottleneck", "layers": [3, 4, 6, 3], "block_inplanes": [4, 4, 8, 8]},
    "DenseNet-121": {
        "_target_": "DenseNet121",
        "spatial_dims": 2,
        "in_channels": 1,
        "out_channels": 2,
        "init_features": 8,
        "growth_rate": 4,
    },
    "EfficientNet": {
        "_target_": "EfficientNet",
        "blocks_args_str": ["r1_k3_s11_e1_i32_o16_se0.25", "r1_k3_s22_e2_i16_o24_se0.25"],
        "spatial_dims": 2,
        "in_channels": 1,
        "num_classes": 2,
        "width_coefficient": 0.25,
        "image_size": SIDE,
    },
    "EfficientNet-Lite": {
        "_target_": "dicom_node.inference.networks.EfficientNetLite",
        "in_channels": 1,
        "num_classes": 2,
        "width": 0.25,
    },
    "VGG16": {
        "_target_": "dicom_node.inference.networks.VGG16",
        "in_channels": 1,
        "num_classes": 2,
        "width": 0.125,
    },
    "ViT": {
        "_target_": "dicom_node.inference.networks.VisionTransformer",
        "in_channels": 1,
        "num_classes": 2,
        "image_side": SIDE,
        "patch_side": 8,
        "hidden_size": 24,
        "layers": 2,
        "heads": 2,
    },
}


HEAT_MAPS = {"ResNet-18": "layer4", "ResNet-50": "layer4", "EfficientNet-Lite": "stages.6", "VGG16": "features"}


@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_is_made_loaded_and_exported(bundle: Path, tmp_path: Path, network: str) -> None:
    (bundle / "configs/inference.json").write_text(json.dumps({**INFERENCE, "network_def": NETWORKS[network]}))
    manifest = yaml.safe_load((bundle / MANIFEST_FILE).read_text())
    saliency = {"target_layer": HEAT_MAPS[network], "region_threshold": 0.5} if network in HEAT_MAPS else None
    (bundle / MANIFEST_FILE).write_text(yaml.safe_dump({**manifest, "saliency": saliency}))
    one_step = {"epochs": 1, "samples_per_epoch": 8, "batch_size": 8, "validation": {"perturbed_copies": 0}}
    (bundle / "configs/train.json").write_text(json.dumps(one_step))
    (bundle / "models/model.pt").unlink()
    write_classes(tmp_path / "data/train", 8)

    train_bundle(bundle, tmp_path / "data", tmp_path / "run", torch.device("cpu"))

    read = TorchNetwork(BundleDefinition.load(bundle), torch.device("cpu"))
    assert read.logits(np.zeros((3, 1, SIDE, SIDE), dtype=np.float32)).shape == (3, 2)
    assert export_onnx(bundle, tmp_path / "data/train").greatest_difference <= TOLERANCE
