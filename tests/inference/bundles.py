"""Tiny bundles with random weights, written into a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml

from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.definition import INFERENCE_FILE, MANIFEST_FILE, METADATA_FILE, WEIGHTS_FILE, BundleDefinition

TORCH = Backend("torch", "cpu")

METADATA: dict[str, Any] = {
    "version": "1.2.3",
    "monai_version": "1.6.1",
    "pytorch_version": "2.13.0",
    "intended_use": "Tests.",
    "task": "Classification",
    "network_data_format": {"outputs": {"pred": {"num_channels": 2}}},
}

INFERENCE: dict[str, Any] = {
    "network_def": {
        "_target_": "ResNet",
        "block": "basic",
        "layers": [1, 1, 1, 1],
        "block_inplanes": [4, 4, 4, 8],
        "spatial_dims": 2,
        "n_input_channels": 1,
        "num_classes": 2,
    },
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [
            {"_target_": "Resized", "keys": "image", "spatial_size": [32, 32], "mode": "area"},
            {"_target_": "NormalizeIntensityd", "keys": "image"},
        ],
    },
}

MANIFEST: dict[str, Any] = {
    "title": "A test",
    "kind": "ct",
    "selection": {"sop_classes": ["CTImageStorage"]},
    "input": {"channels": 1, "window": {"center": 40, "width": 400}},
    "classes": ["normal", "tumor"],
    "findings": [
        {
            "name": "tumor",
            "label": "Tumour",
            "classes": ["tumor"],
            "code": {"value": "126880001", "scheme": "SCT", "meaning": "Neoplasm of kidney"},
            "site": {"value": "64033007", "scheme": "SCT", "meaning": "Kidney"},
            "paired_site": True,
            "operating_point": "balanced",
            "operating_points": {"balanced": {"threshold": 0.0}},
        }
    ],
    "calibration": {"temperature": 2.0},
    "saliency": {"target_layer": "layer4", "region_threshold": 0.5},
}


def write_bundle(
    folder: Path,
    *,
    metadata: dict[str, Any] = METADATA,
    inference: dict[str, Any] = INFERENCE,
    manifest: dict[str, Any] = MANIFEST,
) -> Path:
    """Write a bundle whose weights are random, the same every time."""
    for file, text in (
        (METADATA_FILE, json.dumps(metadata)),
        (INFERENCE_FILE, json.dumps(inference)),
        (MANIFEST_FILE, yaml.safe_dump(manifest)),
    ):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    (folder / WEIGHTS_FILE).parent.mkdir(exist_ok=True)
    torch.manual_seed(0)
    torch.save(BundleDefinition.load(folder).network().state_dict(), folder / WEIGHTS_FILE)
    return folder
