from pathlib import Path

import pytest
import torch

from training.batches import class_weights
from training.configuration import TrainingConfigurationError, load_training_configuration


def test_a_rare_class_weighs_more_and_images_weigh_one_on_average() -> None:
    labels = torch.tensor([0] * 9 + [1] * 3)

    weights = class_weights(labels)

    assert weights[1] / weights[0] == pytest.approx(3)
    assert float(weights[labels].mean()) == pytest.approx(1)


def test_balanced_drawing_and_weights_are_not_taken_together(bundle: Path) -> None:
    (bundle / "configs/train.json").write_text('{"class_weights": true, "sampling": "class"}')

    with pytest.raises(TrainingConfigurationError, match="twice"):
        load_training_configuration(bundle)
