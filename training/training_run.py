"""Trains one bundle: chooses on validation, writes the weights, keeps what the model said of its validation images."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from dicom_node.inference.definition import WEIGHTS_FILE, BundleDefinition
from training.augmentation import Augmentation
from training.batches import PreparedImages
from training.checkpoint import Checkpoint, training_fingerprint
from training.configuration import TrainingConfiguration, load_training_configuration
from training.fitting import Epoch, Fit, fit, logits_of
from training.labelled_images import LabelledImage, find_labelled_images
from training.preparation import prepare
from training.progress import Progress, write_training
from training.splits import Split, group_folds, hold_out

TRAIN_FOLDER = "train"
VALIDATION_FILE = "validation.npz"
HISTORY_FILE = "history.json"
CHECKPOINTS_FOLDER = "checkpoints"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class ValidationLogits:
    """What networks said of images they were not fitted to: logits (N, classes), labels (N,), groups (N,).

    ``perturbed`` marks the copies that were changed as in training: the images of another site differ from
    these in exposure, framing and sharpness, and thresholds should still hold there.
    """

    logits: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    groups: npt.NDArray[np.str_]
    perturbed: npt.NDArray[np.bool_]

    def save(self, folder: Path) -> None:
        """Write to the run's folder."""
        np.savez(
            folder / VALIDATION_FILE,
            logits=self.logits,
            labels=self.labels,
            groups=self.groups,
            perturbed=self.perturbed,
        )

    @classmethod
    def load(cls, folder: Path) -> ValidationLogits:
        """Read what ``save`` wrote."""
        with np.load(folder / VALIDATION_FILE) as arrays:
            return cls(arrays["logits"], arrays["labels"], arrays["groups"], arrays["perturbed"])

    @classmethod
    def join(cls, parts: Sequence[ValidationLogits]) -> ValidationLogits:
        """Put the folds of a cross-validation together."""
        return cls(
            np.concatenate([part.logits for part in parts]),
            np.concatenate([part.labels for part in parts]),
            np.concatenate([part.groups for part in parts]),
            np.concatenate([part.perturbed for part in parts]),
        )


def train_bundle(folder: Path, data: Path, run: Path, device: torch.device, *, resume: bool = False) -> None:
    """Train the bundle in ``folder`` on ``data`` (its ``train`` folder and the validation split, if one is named).

    Writes ``models/model.pt`` into the bundle; training history and validation logits into ``run``.
    With folds, every fold is fitted to learn what the model says of scans it has not seen; the weights that
    are kept are then fitted to all images, for as many epochs.

    An interrupted run leaves checkpoints in ``run``. With ``resume`` it goes on from them, and ends with the
    weights that it would have ended with; without, it begins anew.

    Raises:
        ResumeError: the checkpoints are of another configuration, network or data set.
        TransferError: the weights to start from are missing, or of another network.
    """
    definition = BundleDefinition.load(folder)
    configuration = load_training_configuration(folder)
    run.mkdir(parents=True, exist_ok=True)
    images, splits = split_images(definition, configuration, data)
    checkpoints = run / CHECKPOINTS_FOLDER
    if not resume:
        shutil.rmtree(checkpoints, ignore_errors=True)
    fingerprint = training_fingerprint(definition, configuration, images)
    prepared = prepare(images, definition.preprocessing())
    progress = Progress(run, len(splits) + (len(splits) > 1), configuration.epochs)
    fits: list[Fit] = []
    parts: list[ValidationLogits] = []
    for number, split in enumerate(splits, start=1):
        _log.info("split %d of %d: %d images train, %d validate", number, len(splits), *map(len, split))
        train, valid = (PreparedImages.select(prepared, part) for part in split)
        checkpoint = Checkpoint(checkpoints / f"split{number}.pt", fingerprint)
        fits.append(fit_network(definition, configuration, train, valid, device, checkpoint, progress.of_fit(number)))
        parts.append(validation_logits(fits[-1], configuration, valid, device))
        ValidationLogits.join(parts).save(run)
    final = fits[0]
    if len(splits) > 1:
        everything = PreparedImages.select(prepared, images)
        checkpoint = Checkpoint(checkpoints / "all.pt", fingerprint)
        final = fit_network(
            definition, configuration, everything, None, device, checkpoint, progress.of_fit(len(splits) + 1)
        )
        fits.append(final)
    history = [[asdict(epoch) for epoch in one.epochs] for one in fits]
    (run / HISTORY_FILE).write_text(json.dumps(history, indent=1), encoding="utf-8")
    counts = Counter(definition.manifest.classes[image.label] for image in images)
    write_training(folder, counts, len({image.group for image in images}), history)
    (folder / WEIGHTS_FILE).parent.mkdir(exist_ok=True)
    torch.save(_half_precision(final.network), folder / WEIGHTS_FILE)
    shutil.rmtree(checkpoints)


def split_images(
    definition: BundleDefinition, configuration: TrainingConfiguration, data: Path
) -> tuple[list[LabelledImage], list[Split]]:
    """Return all images to train on, and how they are split to validate: one split, or one for each fold."""
    classes, validation = definition.manifest.classes, configuration.validation
    images = find_labelled_images(data / TRAIN_FOLDER, classes, configuration.class_folders)
    if validation.split is not None:
        valid = find_labelled_images(data / validation.split, classes, configuration.class_folders)
        if validation.folds is None:
            return [*images, *valid], [(images, valid)]
        images += valid
    if validation.folds is not None:
        return images, group_folds(images, validation.folds, configuration.seed)
    return images, [hold_out(images, validation.fraction, configuration.seed)]


def fit_network(
    definition: BundleDefinition,
    configuration: TrainingConfiguration,
    train: PreparedImages,
    valid: PreparedImages | None,
    device: torch.device,
    checkpoint: Checkpoint | None = None,
    after_epoch: Callable[[Sequence[Epoch]], None] = lambda _: None,
) -> Fit:
    """Fit the bundle's network from the configured seed, or from where the checkpoint was left."""
    torch.manual_seed(configuration.seed)
    fitted = fit(definition.network(), configuration, train, valid, device, checkpoint, after_epoch)
    # What is validated is what is kept: weights that have been through half precision.
    fitted.network.load_state_dict(_half_precision(fitted.network))
    return fitted


def _half_precision(network: torch.nn.Module) -> dict[str, Tensor]:
    """Return the weights as they are stored: half the size, and no difference that a probability would show."""
    return {
        name: tensor.half().contiguous() if tensor.is_floating_point() else tensor
        for name, tensor in network.state_dict().items()
    }


def validation_logits(
    fitted: Fit, configuration: TrainingConfiguration, valid: PreparedImages, device: torch.device
) -> ValidationLogits:
    """Say what a fitted network makes of images, as they are and in perturbed copies."""
    augmentation = Augmentation(configuration.augmentation, configuration.seed + 1)
    copies = configuration.validation.perturbed_copies
    tensors: list[Tensor] = [valid.tensors] + [_perturb(valid.tensors, augmentation) for _ in range(copies)]
    return ValidationLogits(
        np.concatenate([logits_of(fitted.network, part, device) for part in tensors]),
        np.tile(valid.labels.numpy(), copies + 1),
        np.tile(np.array(valid.groups, dtype=np.str_), copies + 1),
        np.repeat([False] + [True] * copies, len(valid.labels)),
    )


def _perturb(tensors: Tensor, augmentation: Augmentation) -> Tensor:
    return torch.cat([augmentation(part) for part in tensors.split(64)])
