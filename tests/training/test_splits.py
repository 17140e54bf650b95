from pathlib import Path

import pytest

from training.labelled_images import LabelledImage
from training.splits import LeakageError, group_folds, hold_out, refuse_leakage

IMAGES = [LabelledImage(Path(f"{g}-{i}.png"), g % 2, f"scan {g}") for g in range(20) for i in range(1 + g % 5)]


def test_no_group_is_on_both_sides_of_any_fold() -> None:
    for train, valid in group_folds(IMAGES, 4, seed=1):
        assert not {image.group for image in train} & {image.group for image in valid}


def test_every_image_validates_once() -> None:
    held = [image for _, valid in group_folds(IMAGES, 4, seed=1) for image in valid]
    assert sorted(image.path for image in held) == sorted(image.path for image in IMAGES)


def test_hold_out_is_repeatable_and_about_as_large_as_asked() -> None:
    train, valid = hold_out(IMAGES, 0.2, seed=1)
    assert hold_out(IMAGES, 0.2, seed=1) == (train, valid)
    assert 0.1 < len(valid) / len(IMAGES) < 0.3


def test_leaking_split_is_refused_by_name() -> None:
    with pytest.raises(LeakageError, match="scan 3"):
        refuse_leakage([IMAGES[0], LabelledImage(Path("x"), 0, "scan 3")], [LabelledImage(Path("y"), 0, "scan 3")])
