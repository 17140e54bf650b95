"""A bundle's network as ONNX, held against the original."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import Tensor

from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.scoring import calibrated_probabilities
from training.configuration import load_training_configuration
from training.labelled_images import find_labelled_images
from training.metrics import DoubleArray

ONNX_FILE = Path("models/model.onnx")
OPSET = 23
"""The newest that torch.onnx writes."""

TOLERANCE = 1e-4
"""Greatest difference of a calibrated probability that is let through."""

BATCH_SIZES = (1, 2, 7)
_MOST_IMAGES = 64

_log = logging.getLogger(__name__)


class ParityError(Exception):
    """The exported network says something else than the original; nothing was written."""


@dataclass(frozen=True, slots=True)
class Export:
    """An exported network and how far its probabilities are, at most, from the original's on ``images`` inputs."""

    path: Path
    opset: int
    images: int
    greatest_difference: float


def export_onnx(folder: Path, data: Path | None = None) -> Export:
    """Write ``models/model.onnx``: input "image" (batch, C, h, w), output "logits" (batch, classes), batch dynamic.

    The network is exported in float32, without preprocessing and calibration, which the bundle's own definition
    gives. It is compared on noise of many kinds, and on images where ``data`` (a folder per class) is given.

    Raises:
        ParityError: the probabilities differ by more than 1e-4.
    """
    bundle = Bundle.load(folder, torch.device("cpu"), even_if_disabled=True)
    inputs = _noise(bundle) + ([] if data is None else _images(bundle, folder, data))
    path = folder / ONNX_FILE
    draft = path.with_suffix(".draft")
    _write(bundle, inputs[0], draft)
    try:
        difference = _greatest_difference(bundle, draft, inputs)
        if not difference <= TOLERANCE:
            raise ParityError(
                f"{folder.name}: ONNX differs by {difference:.2g}, more than {TOLERANCE:g} is not let by."
            )
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    _log.info("%s: %.1f MB, greatest difference %.1e", path, path.stat().st_size / 1e6, difference)
    return Export(path, OPSET, len(inputs), difference)


def _write(bundle: Bundle, example: Tensor, path: Path) -> None:
    # A batch of one would be taken for a constant.
    program = torch.onnx.export(
        bundle.network,
        (torch.stack([example, example]),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=["logits"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        verbose=False,
    )
    if program is None:
        raise ParityError(f"{bundle.name}: torch.onnx gave no program.")
    program.save(path, external_data=False)


def _greatest_difference(bundle: Bundle, path: Path, inputs: Sequence[Tensor]) -> float:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    differences: list[float] = []
    start = 0
    while start < len(inputs):
        batch = torch.stack(list(inputs[start : start + BATCH_SIZES[len(differences) % len(BATCH_SIZES)]]))
        start += len(batch)
        with torch.inference_mode():
            expected = _probabilities(bundle, bundle.network(batch).double().numpy())
        (said,) = session.run(["logits"], {"image": batch.numpy()})
        found = _probabilities(bundle, np.asarray(said, dtype=np.float64))
        differences.append(float(np.abs(found - expected).max()))
    return max(differences)


def _probabilities(bundle: Bundle, logits: DoubleArray) -> DoubleArray:
    return calibrated_probabilities(logits, bundle.manifest.calibration)


def _noise(bundle: Bundle) -> list[Tensor]:
    """Noise from coarse to fine, and an empty image, through the bundle's own preprocessing."""
    random = np.random.default_rng(0)
    pictures = [np.zeros((256, 256), dtype=np.float32)]
    for size in (4, 16, 64, 256):
        for _ in range(4):
            coarse = random.random((size, size), dtype=np.float32)
            pictures.append(np.kron(coarse, np.ones((256 // size, 256 // size), dtype=np.float32)))
    return [bundle.preprocessing(picture).as_tensor() for picture in pictures]


def _images(bundle: Bundle, folder: Path, data: Path) -> list[Tensor]:
    aliases = load_training_configuration(folder).class_folders
    found = find_labelled_images(data, bundle.manifest.classes, aliases)
    preprocessing = bundle.preprocessing
    return [
        preprocessing(preprocessing.display_image(read_plain_image(image.path), 0)).as_tensor()
        for image in found[:: max(1, len(found) // _MOST_IMAGES)]
    ]
