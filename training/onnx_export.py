"""A bundle's network as ONNX, held against the original, so that a node can run it without PyTorch."""

from __future__ import annotations

import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dicom_node.domain import FloatArray
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.inference.backends.exported import EXPORT_FILE, GRAD_CAM_FILE, ONNX_FILE, Exported, describe
from dicom_node.inference.backends.grad_cam import traced
from dicom_node.inference.backends.onnxruntime_network import OnnxRuntimeNetwork
from dicom_node.inference.backends.parity import (
    HEAT_MAP_TOLERANCE,
    TOLERANCE,
    VaryingSize,
    greatest_difference,
    greatest_heat_map_difference,
    noise,
)
from dicom_node.inference.backends.torch_network import TorchNetwork
from dicom_node.inference.definition import WEIGHTS_FILE, BundleDefinition, weights_digest
from dicom_node.inference.preprocessing import Preprocessing
from training.configuration import load_training_configuration
from training.labelled_images import find_labelled_images

OPSET = 23
"""The newest that torch.onnx writes."""

_MOST_IMAGES = 64

_log = logging.getLogger(__name__)


class ParityError(Exception):
    """The exported network says something else than the original; nothing was written."""


@dataclass(frozen=True, slots=True)
class Export:
    """An exported network, and how far it is at most from the original on ``images`` inputs.

    ``greatest_difference`` is of a calibrated probability, ``heat_map_difference`` of a heat map whose peak is 1.
    """

    path: Path
    opset: int
    images: int
    greatest_difference: float
    heat_map_difference: float


def export_onnx(folder: Path, data: Path | None = None) -> Export:
    """Write ``models/model.onnx``, ``models/grad_cam.onnx`` where heat maps are made, and ``models/export.json``.

    The network is exported in float32, without preprocessing and calibration, which the bundle's own definition
    gives. It is compared on noise of many kinds, and on images where ``data`` (a folder per class) is given.

    Raises:
        ParityError: a probability differs by more than 1e-4, or a heat map by more than 1e-3.
    """
    definition = BundleDefinition.load(folder)
    preprocessing = definition.preprocessing()
    original = TorchNetwork(definition, torch.device("cpu"))
    try:
        pictures = noise(preprocessing)
    except VaryingSize as error:
        raise ParityError(f"{folder.name} cannot be exported: {error}.") from error
    inputs = pictures + ([] if data is None else _images(definition, preprocessing, data))
    with tempfile.TemporaryDirectory(prefix=".", dir=folder / ONNX_FILE.parent) as draft:
        exported = _write(original, inputs[0].shape, Path(draft))
        network = OnnxRuntimeNetwork(exported)
        difference = greatest_difference(network, original, inputs, definition.manifest)
        heat_map = greatest_heat_map_difference(network, original, inputs, definition.manifest)
        if not (difference <= TOLERANCE and heat_map <= HEAT_MAP_TOLERANCE):
            raise ParityError(
                f"{folder.name}: ONNX differs by {difference:.2g} in probability and {heat_map:.2g} in the heat map; "
                f"more than {TOLERANCE:g} and {HEAT_MAP_TOLERANCE:g} is not let by."
            )
        _publish(definition, exported)
    _log.info("%s: greatest difference %.1e, of a heat map %.1e", folder / ONNX_FILE, difference, heat_map)
    return Export(folder / ONNX_FILE, OPSET, len(inputs), difference, heat_map)


def _write(original: TorchNetwork, shape: tuple[int, ...], folder: Path) -> Exported:
    # A batch of one would be taken for a constant.
    pair = torch.zeros((2, *shape))
    dynamic = ({0: torch.export.Dim("batch")},)
    logits = _save(original.module, (pair,), ["image"], "logits", folder / ONNX_FILE.name, dynamic)
    if original.explained is None:
        return Exported(logits, None)
    image, chosen = pair[:1], torch.zeros_like(original.module(pair[:1]))
    graph = traced(original.explained, image, chosen).eval()
    return Exported(
        logits, _save(graph, (image, chosen), ["image", "chosen"], "map", folder / GRAD_CAM_FILE.name, None)
    )


def _save(
    module: nn.Module, example: tuple[Tensor, ...], inputs: list[str], output: str, path: Path, dynamic: Any
) -> Path:
    program = torch.onnx.export(
        module,
        example,
        dynamo=True,
        opset_version=OPSET,
        input_names=inputs,
        output_names=[output],
        dynamic_shapes=dynamic,
        verbose=False,
    )
    if program is None:
        raise ParityError(f"torch.onnx gave no program for {path.name}.")
    program.save(path, external_data=False)
    return path


def _publish(definition: BundleDefinition, exported: Exported) -> None:
    """Move the files to their places; what says that they are whole goes first and comes last."""
    folder = definition.folder
    (folder / EXPORT_FILE).unlink(missing_ok=True)
    (folder / GRAD_CAM_FILE).unlink(missing_ok=True)
    exported.logits.replace(folder / ONNX_FILE)
    files = [ONNX_FILE]
    if exported.grad_cam is not None:
        exported.grad_cam.replace(folder / GRAD_CAM_FILE)
        files.append(GRAD_CAM_FILE)
    content = describe(definition, weights_digest(folder / WEIGHTS_FILE), files)
    (folder / EXPORT_FILE).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _images(definition: BundleDefinition, preprocessing: Preprocessing, data: Path) -> list[FloatArray]:
    aliases = load_training_configuration(definition.folder).class_folders
    found = find_labelled_images(data, definition.manifest.classes, aliases)
    return [
        preprocessing(preprocessing.display_image(read_plain_image(image.path), 0)).pixels
        for image in found[:: max(1, len(found) // _MOST_IMAGES)]
    ]
