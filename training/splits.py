"""Splits that keep the images of one patient or scan together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.model_selection import StratifiedGroupKFold

from training.labelled_images import LabelledImage

Split = tuple[list[LabelledImage], list[LabelledImage]]


class LeakageError(Exception):
    """A patient or scan is on both sides of a split."""


def group_folds(images: Sequence[LabelledImage], folds: int, seed: int) -> list[Split]:
    """Return (train, valid) for each fold: classes balanced as far as whole groups allow.

    Every image is in exactly one validation part.
    """
    labels = np.array([image.label for image in images])
    groups = np.array([image.group for image in images])
    splitter = StratifiedGroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    splits = []
    for train, valid in splitter.split(labels, labels, groups):
        split = [images[index] for index in train], [images[index] for index in valid]
        refuse_leakage(*split)
        splits.append(split)
    return splits


def hold_out(images: Sequence[LabelledImage], fraction: float, seed: int) -> Split:
    """Return (train, valid) with about ``fraction`` of the images, in whole groups, held out."""
    return group_folds(images, max(2, round(1 / fraction)), seed)[0]


def leave_group_out(images: Sequence[LabelledImage]) -> list[Split]:
    """Return (train, valid) for each group in turn: valid is the group."""
    groups = sorted({image.group for image in images})
    return [
        ([image for image in images if image.group != group], [image for image in images if image.group == group])
        for group in groups
    ]


def refuse_leakage(train: Sequence[LabelledImage], valid: Sequence[LabelledImage]) -> None:
    """Check that no group is on both sides.

    Raises:
        LeakageError: some are; the text names up to five.
    """
    shared = sorted({image.group for image in train} & {image.group for image in valid})
    if shared:
        raise LeakageError(f"{len(shared)} groups are in both parts of the split, among them {', '.join(shared[:5])}.")
