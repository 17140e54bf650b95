"""Prepared images and the batches that are drawn of them: every class equally often, whatever its share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.configuration import TrainingConfiguration
from training.labelled_images import LabelledImage


@dataclass(frozen=True, slots=True, eq=False)
class PreparedImages:
    """Images after the bundle's preprocessing: tensors (N, C, H, W) and their labels (N,) and groups."""

    tensors: Tensor
    labels: Tensor
    groups: tuple[str, ...]

    @classmethod
    def select(cls, prepared: dict[LabelledImage, Tensor], images: Sequence[LabelledImage]) -> PreparedImages:
        """Gather some of the images that have been prepared."""
        return cls(
            torch.stack([prepared[image] for image in images]),
            torch.tensor([image.label for image in images]),
            tuple(image.group for image in images),
        )


class BalancedBatches:
    """Endless batches of indices in which every class, and within it every group if asked, has equal weight."""

    def __init__(self, images: PreparedImages, configuration: TrainingConfiguration) -> None:
        self._random = np.random.default_rng(configuration.seed)
        self._batch_size = configuration.batch_size
        labels = images.labels.numpy()
        weights = np.ones(len(labels)) if configuration.sampling == "image" else 1.0 / np.bincount(labels)[labels]
        if configuration.sampling == "class and group":
            keys = [f"{label} {group}" for label, group in zip(labels, images.groups, strict=True)]
            _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
            # The square root lies between equal images and equal scans: a scan of one slice must not rule.
            weights = 1.0 / np.sqrt(counts[inverse])
            weights /= np.bincount(labels, weights=weights)[labels]
        self._weights = weights / weights.sum()

    def __iter__(self) -> Iterator[npt.NDArray[np.int64]]:
        return self

    def __next__(self) -> npt.NDArray[np.int64]:
        return self._random.choice(len(self._weights), size=self._batch_size, p=self._weights)

    def beta(self, alpha: float) -> float:
        """Draw the share of the first image in a MixUp pair (Zhang et al. 2018)."""
        return float(self._random.beta(alpha, alpha))

    def state(self) -> dict[str, Any]:
        """What the next draw depends on."""
        return dict(self._random.bit_generator.state)

    def restore(self, state: dict[str, Any]) -> None:
        """Draw from here on as after ``state`` was taken."""
        self._random.bit_generator.state = state


def class_weights(labels: Tensor) -> Tensor:
    """Return the inverse frequency of each class, 1 on average over the images."""
    counts = torch.bincount(labels)
    return len(labels) / (len(counts) * counts.clamp_min(1)).float()
