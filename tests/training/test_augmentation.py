import pytest
import torch

from training.augmentation import Augmentation
from training.configuration import AugmentationConfiguration

BATCH = torch.randn(6, 1, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 + 5
STILL = AugmentationConfiguration(
    rotation_degrees=0,
    translation=0,
    zoom=(1, 1),
    aspect=(1, 1),
    gamma_probability=0,
    window_probability=0,
    blur_probability=0,
    sharpen_probability=0,
    noise_probability=0,
    erase_probability=0,
)


def test_without_any_change_the_images_come_back() -> None:
    assert Augmentation(STILL, 0)(BATCH) == pytest.approx(BATCH, abs=1e-4)


def test_a_sure_flip_is_a_mirror_image() -> None:
    flip = STILL.model_copy(update={"flip_horizontal": 1.0})
    assert Augmentation(flip, 0)(BATCH) == pytest.approx(BATCH.flip(-1), abs=1e-4)


def test_every_image_keeps_its_mean_and_deviation() -> None:
    changed = Augmentation(AugmentationConfiguration(), 0)(BATCH)
    assert changed.mean(dim=(1, 2, 3)) == pytest.approx(BATCH.mean(dim=(1, 2, 3)), abs=1e-3)
    assert changed.std(dim=(1, 2, 3)) == pytest.approx(BATCH.std(dim=(1, 2, 3)), abs=1e-3)


def test_the_seed_decides() -> None:
    everything = AugmentationConfiguration()
    assert torch.equal(Augmentation(everything, 3)(BATCH), Augmentation(everything, 3)(BATCH))
    assert not torch.equal(Augmentation(everything, 3)(BATCH), Augmentation(everything, 4)(BATCH))
