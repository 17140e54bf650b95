"""Which backend runs a bundle's network: the one that is configured, or the fastest that is installed and can."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from dicom_node.config import Config
from dicom_node.domain import Gpu
from dicom_node.inference.backends.exported import find_exported
from dicom_node.inference.backends.falling_back import FallingBackNetwork
from dicom_node.inference.backends.network import Network
from dicom_node.inference.backends.placement import choose_gpu, needed_bytes
from dicom_node.inference.definition import WEIGHTS_FILE, BundleDefinition, BundleError

log = logging.getLogger(__name__)

BackendName = Literal["torch", "openvino", "onnxruntime"]
_CPU_FASTEST_FIRST: tuple[BackendName, ...] = ("openvino", "onnxruntime", "torch")
_PACKAGES: Mapping[BackendName, str] = {"torch": "PyTorch", "openvino": "OpenVINO", "onnxruntime": "ONNX Runtime"}


class BackendUnfit(BundleError):
    """The backend cannot run this bundle here; another might."""


@dataclass(frozen=True, slots=True)
class Backend:
    """How networks are to be run.

    ``name`` and ``device`` are "auto" where the node is to choose: CUDA where PyTorch finds one, else the fastest
    backend for the CPU. ``store`` is a folder for converted networks, None to convert them at every start.
    ``give_way`` closes another network on a GPU, and says whether there was one to close.
    """

    name: Literal["auto", "torch", "openvino", "onnxruntime"] = "auto"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    store: Path | None = None
    give_way: Callable[[], bool] = field(default=lambda: False, compare=False)

    @classmethod
    def configured(cls, config: Config) -> Backend:
        """What the configuration says; converted networks are kept where there is a data folder."""
        data = config.node.data_folder.absolute()
        return cls(config.worker.backend, config.worker.device, data / "networks" if data.is_dir() else None)

    def open(self, definition: BundleDefinition, digest: str) -> Network:
        """Load a bundle's network; ``digest`` is of its weights.

        Raises:
            BundleError: the bundle is wrong, or what is configured or installed cannot run it.
        """
        if self.name != "auto":
            return self._open_on(self.name, definition, digest)
        if self.device == "cuda" or (self.device == "auto" and _cuda_is_there()):
            return self._open_on("torch", definition, digest)
        reasons = []
        for name in _CPU_FASTEST_FIRST:
            try:
                return self._open_on(name, definition, digest)
            except BackendUnfit as reason:
                log.debug("%s", reason)
                reasons.append(str(reason))
        raise BundleError(" ".join(reasons))

    def gpus(self) -> list[Gpu]:
        """The GPUs that networks may be put on; none where they are to run elsewhere."""
        if self.name not in ("auto", "torch") or self.device == "cpu" or not _cuda_is_there():
            return []
        from dicom_node.inference.backends import torch_network

        return torch_network.gpus()

    def _open_on(self, name: BackendName, definition: BundleDefinition, digest: str) -> Network:
        if find_spec(name) is None:
            raise BackendUnfit(f"{definition.name}: {_PACKAGES[name]} is not installed.")
        return _OPENERS[name](definition, digest, self)


def _cuda_is_there() -> bool:
    if find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _torch(definition: BundleDefinition, digest: str, backend: Backend) -> Network:
    import torch

    from dicom_node.inference.backends.torch_network import TorchNetwork, cpu_device, free_gpu_bytes, gpu_fault

    def on_cpu() -> Network:
        # On the CPU, convolutions are faster with the channels last.
        return TorchNetwork(definition, cpu_device(), torch.channels_last)

    if backend.device == "cpu" or not torch.cuda.is_available():
        if backend.device == "cuda":
            raise BundleError("worker.device is cuda, but PyTorch finds no CUDA device: set auto or cpu.")
        return on_cpu()

    def on_gpu() -> Network:
        weights = definition.folder / WEIGHTS_FILE
        needed = needed_bytes(weights.stat().st_size if weights.is_file() else 0)
        while (gpu := choose_gpu(needed, free_gpu_bytes())) is None and backend.give_way():
            torch.cuda.empty_cache()
        if gpu is None:
            raise torch.cuda.OutOfMemoryError("no GPU has room for this network")
        return TorchNetwork(definition, torch.device("cuda", gpu))

    return FallingBackNetwork(definition.name, on_gpu, on_cpu, gpu_fault)


def _openvino(definition: BundleDefinition, digest: str, backend: Backend) -> Network:
    from dicom_node.inference.backends.openvino_network import OpenVinoModels, OpenVinoNetwork
    from dicom_node.inference.backends.openvino_store import kept_or

    exported = find_exported(definition, digest)
    if exported is not None:
        return OpenVinoNetwork(OpenVinoModels.read(exported.logits, exported.grad_cam))
    if find_spec("torch") is None:
        raise _not_exported(definition)
    from dicom_node.inference.backends.openvino_conversion import ConversionError, convert

    try:
        models = convert(definition) if backend.store is None else kept_or(convert, definition, digest, backend.store)
    except ConversionError as error:
        raise BackendUnfit(f"{definition.name}: {error}.") from error
    return OpenVinoNetwork(models)


def _onnxruntime(definition: BundleDefinition, digest: str, backend: Backend) -> Network:
    from dicom_node.inference.backends.onnxruntime_network import OnnxRuntimeNetwork

    exported = find_exported(definition, digest)
    if exported is None:
        raise _not_exported(definition)
    return OnnxRuntimeNetwork(exported)


def _not_exported(definition: BundleDefinition) -> BackendUnfit:
    return BackendUnfit(
        f"{definition.name}: models/model.onnx is not there or not of these weights; where PyTorch is installed, "
        f"write it with: python -m training export --model {definition.name}"
    )


_OPENERS: Mapping[BackendName, Callable[[BundleDefinition, str, Backend], Network]] = {
    "torch": _torch,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}
