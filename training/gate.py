"""Fits a bundle's input gate, and measures what it refuses: right images wrongly, and wrong ones rightly."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import binomtest
from sklearn.decomposition import PCA

from dicom_node.domain import FloatArray, ImageStack, NotApplicable
from dicom_node.inference.definition import BundleDefinition
from dicom_node.inference.gate import GATE_FILE, Cloud, Descriptors, InputGate, describe
from dicom_node.inference.preprocessing import Preprocessing
from training.augmentation import Augmentation
from training.configuration import TrainingConfiguration, load_training_configuration
from training.foreign_images import altered, read_stacks_below, synthetic
from training.labelled_images import LabelledImage, find_labelled_images
from training.metrics import DoubleArray
from training.model_card import GATE_REPORT_FILE
from training.preparation import prepare
from training.training_run import split_images

TEST_FOLDER = "test"

FALSE_REFUSALS = 0.01
"""Greatest share of the validation images, as they are, that is refused."""

_LAYOUT_AXES = 32
_MOST_IMAGES = 1000
"""A Gaussian is known well from these; they are drawn evenly from all."""
_MOST_FOREIGN = 100
_BATCH = 64
_LEAST_DEVIATION = 1e-2
"""Of a feature: what never varies in training, such as the colour of grey images, must not rule out all else."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Described:
    """Descriptors of images as they are, and of each of their perturbed copies, in the same order."""

    plain: Descriptors
    perturbed: tuple[Descriptors, ...]

    def at(self, index: Sequence[int]) -> _Described:
        return _Described(_at(self.plain, index), tuple(_at(copy, index) for copy in self.perturbed))


def fit_gate(folder: Path, data: Path) -> InputGate:
    """Fit the gate of the bundle in ``folder`` on what it is trained on, and write ``models/gate.npz``.

    The clouds are fitted to the training part, as it is and perturbed as in training, because the images of another
    site differ in exposure, framing and sharpness. Their limits let all but 1 % of the validation images by, and of
    the perturbed copies all but what ``gate.perturbed_refusals`` says. With folds, each fold is judged by the others.
    """
    definition, configuration = BundleDefinition.load(folder), load_training_configuration(folder)
    images, splits = split_images(definition, configuration, data)
    images = images[:: max(1, len(images) // _MOST_IMAGES)]
    place = {image: index for index, image in enumerate(images)}
    described = _described(images, definition, configuration)
    judged: list[tuple[InputGate, _Described]] = []
    for train, valid in splits:
        fitted, held_out = ([place[image] for image in part if image in place] for part in (train, valid))
        judged.append((_clouds(described.at(fitted)), described.at(held_out)))
    gate = judged[0][0] if len(judged) == 1 else _clouds(described)
    gate = _with_limits(gate, judged, configuration.gate.perturbed_refusals)
    gate.save(folder / GATE_FILE)
    _log.info("%s: fitted on %d images", folder / GATE_FILE, len(images))
    return gate


def measure_gate(folder: Path, data: Path, others: Mapping[str, Path]) -> dict[str, Any]:
    """Say which of the test images are refused, and which images of wrong kinds; write ``docs/gate.json``.

    ``others`` are folders of PNG, JPEG or DICOM files of another kind each; some are made here. Intervals are exact
    (Clopper and Pearson 1934), image by image: a study is refused on the ground of many.
    """
    definition, configuration = BundleDefinition.load(folder), load_training_configuration(folder)
    gate = InputGate.load(folder / GATE_FILE)
    found = find_labelled_images(data / TEST_FOLDER, definition.manifest.classes, configuration.class_folders)
    right = list(read_stacks_below([image.path for image in found], definition.manifest.kind))
    kinds: dict[str, Iterable[ImageStack | NotApplicable]] = dict(synthetic())
    kinds |= altered([stack for stack in right if isinstance(stack, ImageStack)], definition.manifest.kind)
    for name, below in others.items():
        files = sorted(path for path in below.rglob("*") if path.is_file() and not path.name.startswith("."))
        files = files[:: max(1, len(files) // _MOST_FOREIGN)]
        kinds[name] = read_stacks_below(files, definition.manifest.kind)
    preprocessing = definition.preprocessing()
    report = {
        "model": definition.name,
        "gate_digest": hashlib.sha256((folder / GATE_FILE).read_bytes()).hexdigest(),
        "false_refusals": _refused(gate, preprocessing, right),
        "wrong_kinds": {name: _refused(gate, preprocessing, stacks) for name, stacks in kinds.items()},
    }
    (folder / GATE_REPORT_FILE).parent.mkdir(exist_ok=True)
    (folder / GATE_REPORT_FILE).write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return report


def _described(
    images: Sequence[LabelledImage], definition: BundleDefinition, configuration: TrainingConfiguration
) -> _Described:
    prepared = prepare(images, definition.preprocessing())
    tensors = torch.stack([prepared[image] for image in images])
    augmentation = Augmentation(configuration.augmentation, configuration.seed + 2)
    copies = max(1, configuration.validation.perturbed_copies)
    perturbed = [torch.cat([augmentation(part) for part in tensors.split(_BATCH)]) for _ in range(copies)]
    return _Described(_describe(tensors.numpy()), tuple(_describe(copy.numpy()) for copy in perturbed))


def _describe(images: FloatArray) -> Descriptors:
    parts = [describe(images[start : start + _BATCH]) for start in range(0, len(images), _BATCH)]
    return _join(parts)


def _clouds(described: _Described) -> InputGate:
    both = _join([described.plain, described.perturbed[0]])
    return InputGate(_cloud(both.layout, _LAYOUT_AXES, scaled=False), _cloud(both.texture, None, scaled=True))


def _cloud(features: DoubleArray, axes: int | None, *, scaled: bool) -> Cloud:
    """Fit a Gaussian; with ``scaled`` each feature counts by its own spread, else all by the same."""
    mean = features.mean(axis=0)
    scale = np.maximum(features.std(axis=0), _LEAST_DEVIATION) if scaled else np.ones_like(mean)
    most = min(features.shape[0] - 1, features.shape[1])
    fitted = PCA(min(axes or most, most), svd_solver="full").fit((features - mean) / scale)
    variances = np.maximum(fitted.explained_variance_, _LEAST_DEVIATION**2)
    rest = np.float64(max(fitted.noise_variance_, _LEAST_DEVIATION**2))
    return Cloud(mean, scale, fitted.components_, variances, np.asarray(rest), np.asarray(1.0))


def _with_limits(gate: InputGate, judged: Sequence[tuple[InputGate, _Described]], perturbed: float) -> InputGate:
    """Set the limits of both clouds, each with half of the refusals that are allowed."""
    limits = {}
    for part in ("layout", "texture"):
        plain = np.concatenate([_distances(fitted, part, held_out.plain) for fitted, held_out in judged])
        copies = np.concatenate(
            [_distances(fitted, part, copy) for fitted, held_out in judged for copy in held_out.perturbed]
        )
        limits[part] = max(np.quantile(plain, 1 - FALSE_REFUSALS / 2), np.quantile(copies, 1 - perturbed / 2))
    return InputGate(_limited(gate.layout, limits["layout"]), _limited(gate.texture, limits["texture"]))


def _limited(cloud: Cloud, limit: float) -> Cloud:
    return Cloud(cloud.mean, cloud.scale, cloud.axes, cloud.variances, cloud.rest, np.asarray(limit))


def _distances(gate: InputGate, part: str, described: Descriptors) -> DoubleArray:
    cloud: Cloud = getattr(gate, part)
    return cloud.distances(getattr(described, part))


def _refused(
    gate: InputGate, preprocessing: Preprocessing, stacks: Iterable[ImageStack | NotApplicable]
) -> dict[str, Any]:
    """Count the images that are refused; one that cannot be a stack of the model's kind is refused before the gate."""
    refused = total = 0
    for stack in stacks:
        if isinstance(stack, NotApplicable):
            refused, total = refused + 1, total + 1
            continue
        for index in range(len(stack.planes)):
            try:
                prepared = preprocessing(preprocessing.display_image(stack, index)).pixels
                refused += bool(gate.distances(prepared[np.newaxis])[0] > 1)
            except NotApplicable:
                refused += 1
            total += 1
    interval = binomtest(refused, total).proportion_ci() if total else None
    return {
        "images": total,
        "refused": refused,
        "value": refused / total if total else None,
        "low": None if interval is None else float(interval.low),
        "high": None if interval is None else float(interval.high),
    }


def _join(parts: Sequence[Descriptors]) -> Descriptors:
    return Descriptors(
        np.concatenate([part.layout for part in parts]), np.concatenate([part.texture for part in parts])
    )


def _at(described: Descriptors, index: Sequence[int]) -> Descriptors:
    return Descriptors(described.layout[list(index)], described.texture[list(index)])
