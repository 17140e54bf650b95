"""Grad-CAM as one function of the image: to be called in PyTorch, or traced to operations that need no autograd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._decomp import core_aten_decompositions
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx

aten = torch.ops.aten


class GradCam(nn.Module):
    """Grad-CAM (Selvaraju et al. 2017) of a network at one of its layers.

    Raises:
        AttributeError: the network has no such layer.
    """

    def __init__(self, network: nn.Module, target_layer: str) -> None:
        super().__init__()
        self.network = network
        self._layer = network.get_submodule(target_layer)

    def forward(self, image: Tensor, chosen: Tensor) -> Tensor:
        """Return the map (1, rows, columns) of an image (1, C, h, w); ``chosen`` (1, classes) is 1 at the class."""
        held: list[Tensor] = []
        hook = self._layer.register_forward_hook(lambda _module, _inputs, output: held.append(output))
        try:
            with torch.enable_grad():
                logits = self.network(image.detach().requires_grad_(True))
        finally:
            hook.remove()
        activation = held[-1]
        (gradient,) = torch.autograd.grad(logits, activation, chosen)
        weights = gradient.mean(dim=(2, 3), keepdim=True)
        return torch.relu((weights * activation).sum(dim=1)).detach()


def traced(grad_cam: GradCam, image: Tensor, chosen: Tensor) -> GraphModule:
    """Return the same function for images of this shape as forward operations only, the gradient's among them."""
    graph = make_fx(grad_cam, decomposition_table=_forward_operations())(image, chosen)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return graph


def _forward_operations() -> dict[Any, Any]:
    """What gradients consist of that neither ONNX nor OpenVINO knows, in operations that both do."""
    return {
        **core_aten_decompositions(),
        aten.convolution_backward.default: _convolution_backward,
        aten.avg_pool2d_backward.default: _avg_pool2d_backward,
        aten.native_batch_norm.default: _batch_norm,
    }


def _convolution_backward(
    gradient: Tensor,
    inputs: Tensor,
    weight: Tensor,
    bias_sizes: Sequence[int] | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    transposed: bool,
    output_padding: Sequence[int],
    groups: int,
    output_mask: Sequence[bool],
) -> tuple[Tensor | None, None, None]:
    """The gradient of a convolution by its input is the transposed convolution; weights are constants here."""
    if transposed:
        raise NotImplementedError("Grad-CAM through a transposed convolution")
    if not output_mask[0]:
        return None, None, None
    return _spread(gradient, inputs, weight, stride, padding, dilation, groups), None, None


def _avg_pool2d_backward(
    gradient: Tensor,
    inputs: Tensor,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int],
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """Average pooling is a convolution of each channel by itself with equal weights."""
    if ceil_mode or divisor_override is not None or (any(padding) and not count_include_pad):
        raise NotImplementedError("Grad-CAM through this kind of average pooling")
    channels = inputs.shape[1]
    weight = gradient.new_full((channels, 1, *kernel_size), 1 / (kernel_size[0] * kernel_size[1]))
    return _spread(gradient, inputs, weight, stride or kernel_size, padding, (1, 1), channels)


def _spread(
    gradient: Tensor,
    inputs: Tensor,
    weight: Tensor,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
) -> Tensor:
    """Convolve transposed, to the size of the input: strides may have passed over its last rows and columns."""
    reached = [
        (size - 1) * step - 2 * pad + spacing * (kernel - 1) + 1
        for size, step, pad, spacing, kernel in zip(
            gradient.shape[2:], stride, padding, dilation, weight.shape[2:], strict=True
        )
    ]
    passed_over = [size - end for size, end in zip(inputs.shape[2:], reached, strict=True)]
    spread: Tensor = aten.convolution(gradient, weight, None, stride, padding, dilation, True, passed_over, groups)
    return spread


def _batch_norm(
    inputs: Tensor,
    weight: Tensor,
    bias: Tensor,
    mean: Tensor,
    variance: Tensor,
    training: bool,
    momentum: float,
    epsilon: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Batch normalisation in evaluation mode; it saves nothing for its gradient, which rests on the running figures."""
    if training:
        raise NotImplementedError("Grad-CAM of a network in training mode")
    shape = (1, -1, *(1 for _ in inputs.shape[2:]))
    scale = weight * torch.rsqrt(variance + epsilon)
    nothing = inputs.new_empty(0)
    return inputs * scale.reshape(shape) + (bias - mean * scale).reshape(shape), nothing, nothing
