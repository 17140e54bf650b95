from pathlib import Path

import pytest
import torch
from torch import nn

from training.configuration import TransferConfiguration, load_training_configuration
from training.optimization import build_optimizer, freeze
from training.transfer import TransferError, transfer


def _network(planes: int = 1, classes: int = 2, names: tuple[str, str, str] = ("body", "norm", "head")) -> nn.Module:
    body, norm, head = names
    network = nn.Sequential()
    network.add_module(body, nn.Conv2d(planes, 4, 3, bias=False))
    network.add_module(norm, nn.BatchNorm2d(4))
    network.add_module("pool", nn.AdaptiveAvgPool2d(1))
    network.add_module("flat", nn.Flatten())
    network.add_module(head, nn.Linear(4, classes))
    return network


def _saved(network: nn.Module, path: Path) -> TransferConfiguration:
    torch.save(network.state_dict(), path)
    return TransferConfiguration(checkpoint=path)


def test_all_but_the_classifier_of_other_classes_is_taken(tmp_path: Path) -> None:
    source, network = _network(classes=1000), _network()
    classifier = network.state_dict()["head.weight"].clone()

    taken = transfer(network, _saved(source, tmp_path / "weights.pt"))

    assert "body.weight" in taken
    assert not any(name.startswith("head") for name in taken)
    assert torch.equal(network.state_dict()["body.weight"], source.state_dict()["body.weight"])
    assert torch.equal(network.state_dict()["head.weight"], classifier)


def test_layers_of_other_names_are_matched_by_their_order(tmp_path: Path) -> None:
    source, network = _network(classes=1000, names=("_conv_stem", "_bn0", "_fc")), _network()

    taken = transfer(network, _saved(source, tmp_path / "weights.pt"))

    assert "body.weight" in taken
    assert torch.equal(network.state_dict()["body.weight"], source.state_dict()["_conv_stem.weight"])


def test_weights_for_colour_are_summed_for_grey(tmp_path: Path) -> None:
    source, network = _network(planes=3), _network(planes=1)

    transfer(network, _saved(source, tmp_path / "weights.pt"))

    grey = torch.rand(2, 1, 8, 8)
    torch.testing.assert_close(network.eval()(grey), source.eval()(grey.expand(-1, 3, -1, -1)))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TransferError, match="another network"):
        transfer(_network(), _saved(nn.Linear(3, 3), tmp_path / "weights.pt"))


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_text("no weights")

    with pytest.raises(TransferError, match=r"weights\.pt: holds no PyTorch state dict"):
        transfer(_network(), TransferConfiguration(checkpoint=tmp_path / "weights.pt"))
    with pytest.raises(TransferError, match=r"absent\.pt: cannot be read"):
        transfer(_network(), TransferConfiguration(checkpoint=tmp_path / "absent.pt"))
    with pytest.raises(TransferError, match="pip install no_such_weights"):
        transfer(_network(), TransferConfiguration(package="no_such_weights"))


def test_what_is_new_learns_first_and_faster(bundle: Path) -> None:
    transferred = frozenset({"body.weight", "norm.weight", "norm.bias"})
    settings = TransferConfiguration(
        checkpoint=Path("x.pt"), learning_rate_factor=0.1, frozen_epochs=1, frozen_layers=("body",)
    )
    configuration = load_training_configuration(bundle).model_copy(update={"transfer": settings})
    network = _network()

    optimizer, _ = build_optimizer(network, configuration, transferred, steps=10)
    learning = []
    for epoch in (1, 2):
        freeze(network, transferred, configuration, epoch)
        learning.append({name for name, parameter in network.named_parameters() if parameter.requires_grad})

    assert learning == [{"head.weight", "head.bias"}, {"head.weight", "head.bias", "norm.weight", "norm.bias"}]
    rates = {parameter: group["initial_lr"] for group in optimizer.param_groups for parameter in group["params"]}
    assert rates[network.get_parameter("norm.weight")] == pytest.approx(0.1 * configuration.learning_rate)
    assert rates[network.get_parameter("head.weight")] == pytest.approx(configuration.learning_rate)
