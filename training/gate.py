"""Fits a bundle's input gate: right images against foreign ones (outlier exposure, Hendrycks et al. 2019)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression

from dicom_node.domain import FloatArray, ImageStack, NotApplicable
from dicom_node.inference.definition import BundleDefinition
from dicom_node.inference.gate import GATE_FILE, Axes, Descriptors, InputGate, describe
from dicom_node.inference.preprocessing import Preprocessing
from dicom_node.manifest import ImageKind
from training.augmentation import Augmentation
from training.configuration import AugmentationConfiguration, load_training_configuration
from training.foreign_images import altered, read_stacks_below, synthetic
from training.labelled_images import LabelledImage
from training.metrics import DoubleArray
from training.preparation import prepare
from training.splits import group_folds
from training.training_run import split_images

T = TypeVar("T")

FALSE_REFUSALS = 0.01
"""Greatest share of right images that is refused: as they are, and of their perturbed copies."""

_FOLDS = 5
_COPIES = 3
_LAYOUT_AXES = 96
_REGULARISATION = 0.1
"""Inverse strength (scikit-learn's C)."""
_MOST_RIGHT = 800
_MOST_FOREIGN = 400
"""Of a kind; drawn evenly from all."""
_BATCH = 64
_LEAST_DEVIATION = 1e-2
"""Of a feature: what never varies in training, such as the colour of grey images, must not rule out all else."""
_SEED = 1
"""Images made here to fit with differ from those made to measure with."""

_GREY = AugmentationConfiguration(
    flip_horizontal=0.5,
    rotation_degrees=15,
    translation=0.12,
    zoom=(0.65, 1.6),
    aspect=(0.7, 1.43),
    gamma=(0.4, 2.5),
    gamma_probability=0.7,
    window_low=(0.0, 0.25),
    window_high=(0.6, 1.0),
    window_probability=0.6,
    blur_sigma=(0.3, 2.0),
    blur_probability=0.3,
    sharpen_probability=0.15,
    noise=(0.0, 0.08),
    noise_probability=0.3,
)
_TISSUE = AugmentationConfiguration(
    quarter_turns=True,
    flip_horizontal=0.5,
    flip_vertical=0.5,
    rotation_degrees=0,
    translation=0,
    zoom=(1.0, 2.0),
    aspect=(1.0, 1.0),
    stain=(0.6, 1.6),
    gamma=(0.4, 2.5),
    gamma_probability=0.7,
    window_probability=0,
    blur_sigma=(0.3, 2.0),
    blur_probability=0.3,
    sharpen_probability=0.15,
    noise=(0.0, 0.08),
    noise_probability=0.3,
)
"""Further than in training: another hospital's framing, exposure and stain are no reason to refuse an image."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class GateExamples:
    """Descriptors to fit a gate to: right images, as they are and perturbed, in ``folds``, and foreign ones by kind."""

    plain: Descriptors
    perturbed: tuple[Descriptors, ...]
    folds: tuple[tuple[Sequence[int], Sequence[int]], ...]
    foreign: Mapping[str, Descriptors]

    def fit(self, *, without: str | None = None) -> InputGate:
        """Fit a gate to all right images and to the foreign kinds, ``without`` one of them to see how it does unknown.

        Its limit comes from the folds: of the right images that a gate was not fitted to it refuses 1 %, of those as
        they are and of those that are perturbed.
        """
        foreign = [described for kind, described in self.foreign.items() if kind != without]
        plain, perturbed = [], []
        for fitted, held_out in self.folds:
            gate = _fit(self._right(fitted), foreign)
            plain.append(gate.strangeness_of(_at(self.plain, held_out)))
            perturbed += [gate.strangeness_of(_at(copy, held_out)) for copy in self.perturbed]
        limit = max(np.quantile(np.concatenate(odds), 1 - FALSE_REFUSALS) for odds in (plain, perturbed))
        gate = _fit(self._right(range(len(self.plain.layout))), foreign)
        return InputGate(gate.layout, gate.texture, gate.weights, np.asarray(gate.bias - limit))

    def _right(self, index: Sequence[int]) -> Descriptors:
        return join([_at(self.plain, index), *(_at(copy, index) for copy in self.perturbed)])


def gate_examples(folder: Path, data: Path, foreign: Mapping[str, Path]) -> GateExamples:
    """Describe the images that the bundle in ``folder`` is trained and validated on, and those of foreign kinds.

    To the images below the folders ``foreign`` come some that are made here: no body at all, or right ones spoilt.
    """
    definition, configuration = BundleDefinition.load(folder), load_training_configuration(folder)
    preprocessing, kind = definition.preprocessing(), definition.manifest.kind
    images, splits = split_images(definition, configuration, data)
    if configuration.validation.split is not None:
        images = [*splits[0][0], *splits[0][1]]
    images = _evenly(images, _MOST_RIGHT)
    place = {image: index for index, image in enumerate(images)}
    prepared = prepare(images, preprocessing)
    tensors = torch.stack([prepared[image] for image in images])
    augmentation = Augmentation(_TISSUE if kind is ImageKind.SLIDE else _GREY, configuration.seed)
    copies = [torch.cat([augmentation(part) for part in tensors.split(_BATCH)]) for _ in range(_COPIES)]
    folds = group_folds(images, _FOLDS, configuration.seed)
    made = {**synthetic(_SEED), **altered(_displayed(images, kind), kind)}
    read = {name: read_stacks_below(evenly_below(below, _MOST_FOREIGN), kind) for name, below in foreign.items()}
    return GateExamples(
        describe_all([tensors.numpy()]),
        tuple(describe_all([copy.numpy()]) for copy in copies),
        tuple(([place[image] for image in fitted], [place[image] for image in rest]) for fitted, rest in folds),
        {name: describe_all(network_inputs(stacks, preprocessing)) for name, stacks in {**made, **read}.items()},
    )


def fit_gate(folder: Path, examples: GateExamples) -> InputGate:
    """Fit the gate of the bundle in ``folder`` and write ``models/gate.npz``."""
    gate = examples.fit()
    gate.save(folder / GATE_FILE)
    _log.info("%s: %d right images, foreign: %s", folder / GATE_FILE, len(examples.plain.layout), [*examples.foreign])
    return InputGate.load(folder / GATE_FILE)


def network_inputs(stacks: Iterable[ImageStack | NotApplicable], preprocessing: Preprocessing) -> Iterator[FloatArray]:
    """Prepare every image as the network is given it, (1, C, h, w); what cannot be is left out: it never gets there."""
    for stack in stacks:
        if isinstance(stack, NotApplicable):
            continue
        for index in range(len(stack.planes)):
            try:
                yield preprocessing(preprocessing.display_image(stack, index)).pixels[np.newaxis]
            except NotApplicable:
                continue


def describe_all(images: Iterable[FloatArray]) -> Descriptors:
    """Describe parts (n, C, h, w) of whatever length one after another."""
    return join([describe(part[at : at + _BATCH]) for part in images for at in range(0, len(part), _BATCH)])


def join(parts: Sequence[Descriptors]) -> Descriptors:
    """Put the descriptors of several parts together."""
    return Descriptors(
        np.concatenate([part.layout for part in parts]), np.concatenate([part.texture for part in parts])
    )


def evenly_below(folder: Path, most: int) -> list[Path]:
    """Return the files of a folder, at most so many, drawn evenly from all."""
    return _evenly(sorted(path for path in folder.rglob("*") if path.is_file() and path.name[0] != "."), most)


def _evenly(items: Sequence[T], most: int) -> list[T]:
    return list(items[:: max(1, -(-len(items) // most))])


def _displayed(images: Sequence[LabelledImage], kind: ImageKind) -> list[ImageStack]:
    stacks = read_stacks_below([image.path for image in images], kind)
    return [stack for stack in stacks if isinstance(stack, ImageStack)]


def _fit(right: Descriptors, foreign: Sequence[Descriptors]) -> InputGate:
    """Fit axes to the right images and a logistic regression that tells foreign ones from them.

    Right and foreign weigh the same, and so does every foreign kind.
    """
    layout, texture = _axes(right.layout, _LAYOUT_AXES, scaled=False), _axes(right.texture, None, scaled=True)
    parts = [right, *foreign]
    coordinates = np.concatenate(
        [np.concatenate([layout.coordinates(p.layout), texture.coordinates(p.texture)], axis=1) for p in parts]
    )
    counts = np.array([len(part.layout) for part in parts])
    shares = np.array([len(foreign), *np.ones(len(foreign))]) / counts
    weights = np.repeat(shares, counts)
    labels = np.repeat(np.arange(len(parts)) > 0, counts)
    fitted = LogisticRegression(C=_REGULARISATION, max_iter=5000)
    fitted.fit(coordinates, labels, sample_weight=weights / weights.mean())
    return InputGate(layout, texture, fitted.coef_[0], np.asarray(fitted.intercept_[0]))


def _axes(features: DoubleArray, count: int | None, *, scaled: bool) -> Axes:
    """Fit the principal axes; with ``scaled`` each feature counts by its own spread, else all by the same."""
    mean = features.mean(axis=0)
    scale = np.maximum(features.std(axis=0), _LEAST_DEVIATION) if scaled else np.ones_like(mean)
    most = min(features.shape[0] - 1, features.shape[1])
    fitted = PCA(min(count or most, most), svd_solver="full").fit((features - mean) / scale)
    deviations = np.sqrt(fitted.explained_variance_).clip(_LEAST_DEVIATION)
    rest = np.sqrt(fitted.noise_variance_).clip(_LEAST_DEVIATION)
    return Axes(mean, scale, fitted.components_, deviations, np.asarray(rest))


def _at(described: Descriptors, index: Sequence[int]) -> Descriptors:
    return Descriptors(described.layout[list(index)], described.texture[list(index)])
