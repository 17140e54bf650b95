"""Grad-CAM is MONAI's, and stays so as plain operations."""

import numpy as np
import pytest
import torch
from monai.networks.nets.resnet import ResNet
from monai.visualize.class_activation_maps import GradCAM
from torch import nn

from dicom_node.inference.backends.grad_cam import GradCam, traced


class _Depthwise(nn.Sequential):
    """Strided, padded on one side, by channel, with ReLU6: what mobile networks are made of."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(8, 8, 3, 2, groups=8), nn.BatchNorm2d(8), nn.ReLU6()),
            nn.Conv2d(8, 16, 5, 2, 2),
            nn.SiLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(16, 3),
        )


class _AveragePooled(nn.Sequential):
    """As DenseNet narrows between its blocks; of the odd sizes here a row and a column are passed over."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 8, 3),
            nn.AvgPool2d(2),
            nn.Conv2d(8, 8, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 3),
        )


def _resnet() -> nn.Module:
    return ResNet("basic", [1, 1, 1, 1], [4, 8, 8, 8], spatial_dims=2, n_input_channels=1, num_classes=3)


NETWORKS = {
    "resnet, third of four stages": (_resnet, "layer3", 1),
    "resnet, last stage": (_resnet, "layer4", 1),
    "depthwise": (_Depthwise, "1", 2),
    "average pooling": (_AveragePooled, "0", 1),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_is_monais_grad_cam_with_and_without_autograd(name: str) -> None:
    build, layer, index = NETWORKS[name]
    torch.manual_seed(3)
    network = build()
    network.train()
    network(torch.rand(8, 1, 61, 75))  # figures for the batch normalisation
    network.eval().requires_grad_(False)
    image = torch.rand(1, 1, 61, 75)
    chosen = torch.eye(3)[[index]]

    expected = GradCAM(network, layer).compute_map(image.clone().requires_grad_(True), class_idx=index)[:, 0].detach()
    found = GradCam(network, layer)(image, chosen)
    plain = traced(GradCam(network, layer), torch.zeros(1, 1, 61, 75), torch.eye(3)[[0]])

    assert expected.max() > 0
    assert torch.equal(found, expected)
    with torch.inference_mode():
        assert np.asarray(plain(image, chosen)) == pytest.approx(np.asarray(expected), abs=1e-5 * float(expected.max()))


def test_a_layer_that_is_not_there_is_refused() -> None:
    with pytest.raises(AttributeError, match="layer9"):
        GradCam(_resnet(), "layer9")
