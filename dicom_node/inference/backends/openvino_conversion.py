"""A bundle's network from PyTorch to OpenVINO, held against the original."""

from __future__ import annotations

import openvino as ov
import torch

from dicom_node.inference.backends.grad_cam import traced
from dicom_node.inference.backends.openvino_network import OpenVinoModels, OpenVinoNetwork
from dicom_node.inference.backends.parity import (
    HEAT_MAP_TOLERANCE,
    TOLERANCE,
    greatest_difference,
    greatest_heat_map_difference,
    noise,
)
from dicom_node.inference.backends.torch_network import TorchNetwork
from dicom_node.inference.definition import BundleDefinition


class ConversionError(Exception):
    """A network cannot be converted, or says something else afterwards; the text says why."""


def convert(definition: BundleDefinition) -> OpenVinoModels:
    """Convert a bundle's network, and Grad-CAM at its target layer, for images as its preprocessing makes them.

    Raises:
        BundleError: the bundle's network or weights are wrong.
        ConversionError: OpenVINO cannot run the network, or not to the same result.
    """
    original = TorchNetwork(definition, torch.device("cpu"))
    try:
        images = noise(definition.preprocessing())
        shape = images[0].shape
        models = OpenVinoModels(_logits(original, shape), _grad_cam(original, shape))
        network = OpenVinoNetwork(models)
        difference = greatest_difference(network, original, images, definition.manifest)
        heat_map = greatest_heat_map_difference(network, original, images, definition.manifest)
    except (RuntimeError, NotImplementedError, TypeError, ValueError) as error:
        raise ConversionError(f"it cannot be converted to OpenVINO ({str(error).strip().splitlines()[-1]})") from error
    if not (difference <= TOLERANCE and heat_map <= HEAT_MAP_TOLERANCE):
        raise ConversionError(
            f"OpenVINO differs by {difference:.2g} in probability, {heat_map:.2g} in the heat map: more than is let by"
        )
    return models


def _logits(original: TorchNetwork, shape: tuple[int, ...]) -> ov.Model:
    # An example of one image would be taken for a constant.
    example = torch.zeros((2, *shape))
    return ov.convert_model(original.module, example_input=example, input=[ov.PartialShape([-1, *shape])])


def _grad_cam(original: TorchNetwork, shape: tuple[int, ...]) -> ov.Model | None:
    if original.explained is None:
        return None
    image = torch.zeros((1, *shape))
    chosen = torch.zeros_like(original.module(image))
    return ov.convert_model(
        traced(original.explained, image, chosen),
        example_input=(image, chosen),
        input=[ov.PartialShape(list(image.shape)), ov.PartialShape(list(chosen.shape))],
    )
