"""A bundle's network in PyTorch."""

from __future__ import annotations

import os

import numpy as np
import torch
from torch import Tensor, nn

from dicom_node.domain import FloatArray, Gpu
from dicom_node.inference.backends.grad_cam import GradCam
from dicom_node.inference.backends.state_dict import NoStateDict, read_state_dict
from dicom_node.inference.definition import MANIFEST_FILE, WEIGHTS_FILE, BundleDefinition, BundleError


def choose_device() -> torch.device:
    """Return CUDA where there is one, else the CPU."""
    return torch.device("cuda") if torch.cuda.is_available() else cpu_device()


def free_gpu_bytes() -> list[int]:
    """The free memory of each GPU; what other processes take there is not free."""
    return [torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())]


def gpus() -> list[Gpu]:
    """Every GPU with its memory; one that has failed tells nothing of it."""
    return [_gpu(number) for number in range(torch.cuda.device_count())]


def _gpu(number: int) -> Gpu:
    name = torch.cuda.get_device_name(number)
    try:
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError:
        return Gpu(name, None, None)
    return Gpu(name, (total - free) >> 20, total >> 20)


def gpu_fault(error: Exception) -> str | None:
    """Why an error is the GPU's, in words; None of any other."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return "the GPU ran out of memory"
    if isinstance(error, RuntimeError) and ("CUDA error" in str(error) or "cuDNN error" in str(error)):
        return "the GPU failed"
    return None


def cpu_device() -> torch.device:
    """The CPU, with as many threads as this process may use."""
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0))))
    return torch.device("cpu")


def load_module(definition: BundleDefinition) -> nn.Module:
    """Return the bundle's network with its weights, in single precision, in evaluation mode, without gradients.

    Raises:
        BundleError: the network cannot be built, or the weights cannot be read or do not fit it.
    """
    weights = definition.folder / WEIGHTS_FILE
    module = definition.network()
    try:
        module.load_state_dict(read_state_dict(weights))
    except OSError as error:
        raise BundleError(
            f"{weights}: cannot be read: {error.strerror}. Train the model or copy its weights."
        ) from error
    except NoStateDict as error:
        raise BundleError(str(error)) from error
    except RuntimeError as error:
        raise BundleError(f"{weights}: the weights do not fit network_def in inference.json: {error}") from error
    return module.requires_grad_(False).eval()


def load_grad_cam(definition: BundleDefinition, module: nn.Module) -> GradCam | None:
    """Return Grad-CAM at the manifest's target layer; None where it names none.

    Raises:
        BundleError: the network has no such layer.
    """
    saliency = definition.manifest.saliency
    if saliency is None:
        return None
    try:
        return GradCam(module, saliency.target_layer)
    except AttributeError as error:
        raise BundleError(f"{definition.folder / MANIFEST_FILE}: saliency.target_layer: {error}.") from error


class TorchNetwork:
    """Runs in PyTorch, in single precision; fits :class:`Network`.

    ``module`` is the network on its device, ``explained`` Grad-CAM of it, None where the manifest names no target
    layer. ``layout`` is how images lie in memory there.
    """

    def __init__(
        self,
        definition: BundleDefinition,
        device: torch.device,
        layout: torch.memory_format = torch.contiguous_format,
    ) -> None:
        self._layout = layout
        self.module = load_module(definition).to(device)
        self.module.to(memory_format=layout)  # type: ignore[call-overload]
        self.explained = load_grad_cam(definition, self.module)
        self._device = device
        self._name = definition.name
        self._outputs: int | None = None  # told by the network itself, at its first heat map
        if device.type == "cuda":  # decisions are to be those of the CPU: no ten-bit products
            torch.backends.cudnn.allow_tf32 = False

    @property
    def place(self) -> str:
        """Where it runs."""
        return f"PyTorch on {'the CPU' if self._device.type == 'cpu' else torch.cuda.get_device_name(self._device)}"

    @torch.inference_mode()
    def logits(self, batch: FloatArray) -> FloatArray:
        """Return the logits (N, classes) of prepared images (N, C, h, w)."""
        output = self.module(self._on_device(batch))
        if not isinstance(output, Tensor):
            raise BundleError(f"{self._name}: the network gives {type(output).__name__} where logits are needed.")
        return np.asarray(output.cpu().numpy(), dtype=np.float32)

    def grad_cam(self, image: FloatArray, class_index: int) -> FloatArray:
        """Return where on a prepared image (C, h, w) the class is seen."""
        if self.explained is None:
            raise ValueError("the manifest names no target layer")
        batch = self._on_device(image[None])
        if self._outputs is None:
            with torch.no_grad():
                self._outputs = self.module(batch).shape[1]
        chosen = torch.zeros((1, self._outputs), device=self._device)
        chosen[0, class_index] = 1
        return np.asarray(self.explained(batch, chosen)[0].cpu().numpy(), dtype=np.float32)

    def _on_device(self, batch: FloatArray) -> Tensor:
        return torch.from_numpy(batch).to(self._device, memory_format=self._layout)
