"""A bundle ready to run: its network with weights, on a device."""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dicom_node.domain import ModelIdentity
from dicom_node.inference.definition import WEIGHTS_FILE, BundleDefinition, BundleError
from dicom_node.inference.preprocessing import Preprocessing
from dicom_node.manifest import BundleManifest

_CHECKPOINT_KEYS = ("model", "state_dict")
"""Where checkpoints of MONAI's handlers keep the weights, among the optimizer's state."""


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A loaded bundle; the network is in evaluation mode on ``device``."""

    definition: BundleDefinition
    network: torch.nn.Module
    preprocessing: Preprocessing
    identity: ModelIdentity
    device: torch.device

    @classmethod
    def load(cls, folder: Path, device: torch.device, *, even_if_disabled: bool = False) -> Bundle:
        """Load a bundle folder; one that is switched off only on request, to evaluate it.

        Raises:
            BundleError: a file is missing or wrong, the weights do not fit the network, or the bundle is disabled.
        """
        definition = BundleDefinition.load(folder)
        if not (definition.manifest.enabled or even_if_disabled):
            raise BundleError(f"{definition.folder}: the model is disabled (enabled: false in configs/node.yaml).")
        weights = definition.folder / WEIGHTS_FILE
        network = definition.network()
        try:
            network.load_state_dict(_read_weights(weights))
        except RuntimeError as error:
            raise BundleError(f"{weights}: the weights do not fit network_def in inference.json: {error}") from error
        network.requires_grad_(False)
        identity = ModelIdentity(definition.name, definition.version, weights_digest(weights))
        return cls(definition, network.to(device).eval(), definition.preprocessing(), identity, device)

    @property
    def name(self) -> str:
        """The model's name: the folder's."""
        return self.identity.name

    @property
    def version(self) -> str:
        """The model's version, from ``metadata.json``."""
        return self.identity.version

    @property
    def manifest(self) -> BundleManifest:
        """What the bundle's ``node.yaml`` says."""
        return self.definition.manifest


def choose_device() -> torch.device:
    """Return CUDA where there is one, else the CPU with as many threads as this process may use."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0))))
    return torch.device("cpu")


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of the weights file, in hexadecimal.

    Raises:
        BundleError: the file cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}. Train the model or copy its weights.") from error


def _read_weights(path: Path) -> Mapping[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}. Train the model or copy its weights.") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
        raise BundleError(f"{path}: holds no PyTorch state dict: {error}") from error
    for key in _CHECKPOINT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping):
        raise BundleError(f"{path}: holds no PyTorch state dict but {type(content).__name__}.")
    return content
