"""A bundle's network as ONNX files, as ``python -m training export`` writes them, and which weights they are of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dicom_node.inference.definition import BundleDefinition, sha256

ONNX_FILE = Path("models/model.onnx")
"""Input "image" (batch, C, h, w), output "logits" (batch, classes); the batch is dynamic."""

GRAD_CAM_FILE = Path("models/grad_cam.onnx")
"""Inputs "image" (1, C, h, w) and "chosen" (1, classes), 1 at the class; output "map" (1, rows, columns)."""

EXPORT_FILE = Path("models/export.json")
"""What the two were made of, and their digests."""


@dataclass(frozen=True, slots=True)
class Exported:
    """The ONNX files of a bundle; ``grad_cam`` is None where the manifest names no target layer."""

    logits: Path
    grad_cam: Path | None


def find_exported(definition: BundleDefinition, digest: str) -> Exported | None:
    """Return the bundle's ONNX files if they are whole and of the weights with this digest, else None."""
    folder = definition.folder
    try:
        said: Any = json.loads((folder / EXPORT_FILE).read_text(encoding="utf-8"))
        files = dict(said["files"])
        whole = bool(files) and all(sha256(folder / name) == expected for name, expected in files.items())
        fits = (said["weights_digest"], said["target_layer"]) == (digest, target_layer(definition))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not (whole and fits and ONNX_FILE.as_posix() in files):
        return None
    explained = GRAD_CAM_FILE.as_posix() in files
    return Exported(folder / ONNX_FILE, folder / GRAD_CAM_FILE if explained else None)


def describe(definition: BundleDefinition, digest: str, files: list[Path]) -> dict[str, Any]:
    """What belongs into :data:`EXPORT_FILE` for files that lie in the bundle's folder."""
    return {
        "weights_digest": digest,
        "target_layer": target_layer(definition),
        "files": {file.as_posix(): sha256(definition.folder / file) for file in files},
    }


def target_layer(definition: BundleDefinition) -> str | None:
    """The layer that heat maps are made at."""
    saliency = definition.manifest.saliency
    return None if saliency is None else saliency.target_layer
