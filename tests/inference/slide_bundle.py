"""A bundle that takes purple for metastasis, so that what it says of a slide is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from dicom_node.inference.definition import WEIGHTS_FILE
from tests.inference.bundles import MANIFEST, write_bundle

INFERENCE: dict[str, Any] = {
    "imports": ["$import torch"],
    "network_def": "$torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 2))",
    "preprocessing": {
        "_target_": "Compose",
        "transforms": [{"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [48, 48]}],
    },
}
SLIDE_MANIFEST: dict[str, Any] = MANIFEST | {
    "title": "Purple on slides",
    "kind": "slide",
    "selection": {"sop_classes": ["VLWholeSlideMicroscopyImageStorage"], "excluded_image_types": ["LABEL", "OVERVIEW"]},
    "input": {"channels": 3, "tile_size": 64, "tile_step": 32, "microns_per_pixel": 1.0},
    "classes": ["normal", "metastasis"],
    "findings": [
        MANIFEST["findings"][0]
        | {
            "name": "metastasis",
            "label": "Metastasis",
            "classes": ["metastasis"],
            "code": {"value": "94392001", "scheme": "SCT", "meaning": "Metastatic malignant neoplasm to lymph node"},
            "site": {"value": "59441001", "scheme": "SCT", "meaning": "Lymph node"},
            "paired_site": False,
            "operating_points": {"balanced": {"threshold": 0.5}},
        }
    ],
    "calibration": {"temperature": 1.0},
    "aggregation": {"extent_mm": 0.096, "key_slices": 4},
    "saliency": None,
}


def write_slide_bundle(folder: Path, **changes: Any) -> Path:
    """Write the bundle: the logit rises with blue less red, about 8 for the patch and -8 for the other tissue."""
    write_bundle(folder, inference=INFERENCE, manifest=SLIDE_MANIFEST | changes)
    weights = {
        "2.weight": torch.tensor([[0.0, 0.0, 0.0], [-40.0, 0.0, 40.0]]),
        "2.bias": torch.tensor([0.0, -1.6]),
    }
    torch.save(weights, folder / WEIGHTS_FILE)
    return folder
