import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from dicom_node.inference.definition import BundleDefinition
from tests.training.images import write_classes
from training.augmentation import Augmentation
from training.configuration import load_training_configuration
from training.labelled_images import DataError
from training.preparation import prepare
from training.pretraining import pretrain_bundle
from training.training_run import split_images, train_bundle

CPU = torch.device("cpu")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_classes(tmp_path / "data/train", 12)
    return tmp_path / "data"


def _configure(bundle: Path, **changes: object) -> None:
    path = bundle / "configs/train.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _found_again(network: torch.nn.Module, bundle: Path, data: Path) -> float:
    """The share of images whose nearest neighbour among perturbed copies of all images is their own copy."""
    definition, configuration = BundleDefinition.load(bundle), load_training_configuration(bundle)
    images, _ = split_images(definition, configuration, data)
    tensors = torch.stack(list(prepare(images, definition.preprocessing()).values()))
    network.get_submodule("fc").register_forward_pre_hook(lambda _, inputs: features.append(inputs[0]))
    features: list[torch.Tensor] = []
    with torch.inference_mode():
        for batch in (tensors, Augmentation(configuration.augmentation, seed=5)(tensors)):
            network.eval()(batch)
    originals, copies = (functional.normalize(part - part.mean(dim=0)) for part in features)
    nearest = (originals @ copies.T).argmax(dim=1)
    return float((nearest == torch.arange(len(tensors))).float().mean())


def test_copies_of_an_image_are_found_among_others(bundle: Path, data: Path, tmp_path: Path) -> None:
    mild = {"zoom": [0.95, 1.05], "aspect": [1, 1], "translation": 0.02, "erase_probability": 0, "noise_probability": 0}
    pretraining = {"epochs": 40, "batch_size": 12, "learning_rate": 0.01}
    _configure(bundle, pretraining=pretraining, augmentation=mild, validation={"folds": 2})
    torch.manual_seed(1)
    random, network = BundleDefinition.load(bundle).network(), BundleDefinition.load(bundle).network()

    network.load_state_dict(torch.load(pretrain_bundle(bundle, data, tmp_path / "run", CPU), weights_only=True))

    assert _found_again(network, bundle, data) > _found_again(random, bundle, data) + 0.2


def test_training_starts_from_the_checkpoint(bundle: Path, data: Path, tmp_path: Path) -> None:
    _configure(bundle, pretraining={"epochs": 1, "batch_size": 8})
    checkpoint = pretrain_bundle(bundle, data, tmp_path / "run", CPU)
    start = torch.load(checkpoint, weights_only=True)
    frozen = {"checkpoint": str(checkpoint), "frozen_layers": ["conv1"]}
    _configure(bundle, transfer=frozen, epochs=1)

    train_bundle(bundle, data, tmp_path / "run", CPU)

    trained = torch.load(bundle / "models/model.pt", weights_only=True)
    torch.testing.assert_close(trained["conv1.weight"].float(), start["conv1.weight"], atol=1e-3, rtol=1e-3)
    assert not torch.equal(trained["layer4.0.conv1.weight"].float(), start["layer4.0.conv1.weight"])


def test_too_few_images_are_refused(bundle: Path, data: Path, tmp_path: Path) -> None:
    _configure(bundle, pretraining={"batch_size": 64})

    with pytest.raises(DataError, match="fewer than a batch of 64"):
        pretrain_bundle(bundle, data, tmp_path / "run", CPU)
