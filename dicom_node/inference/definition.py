"""What a bundle's configuration says: its network, its preprocessing, its manifest; no weights yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.inference.array_transforms import array_steps
from dicom_node.inference.preprocessing import Preprocessing
from dicom_node.manifest import BundleManifest, ManifestError, load_manifest

if TYPE_CHECKING:
    from torch import nn

METADATA_FILE = Path("configs/metadata.json")
INFERENCE_FILE = Path("configs/inference.json")
MANIFEST_FILE = Path("configs/node.yaml")
WEIGHTS_FILE = Path("models/model.pt")
MODEL_CARD_FILE = Path("docs/README.md")

REQUIRED_METADATA = ("version", "monai_version", "pytorch_version", "intended_use", "task", "network_data_format")


class BundleError(Exception):
    """A bundle cannot be used; the text names the file and says what to change."""


@dataclass(frozen=True, slots=True, eq=False)
class BundleDefinition:
    """A MONAI bundle folder as configured (MONAI bundle specification), with the node's manifest beside it.

    The configuration may hold ``$`` expressions, which are executed: a bundle is trusted like code. MONAI and PyTorch
    are imported only where they are needed.
    """

    folder: Path
    manifest: BundleManifest
    metadata: Mapping[str, Any]
    inference: Mapping[str, Any]

    @classmethod
    def load(cls, folder: Path) -> BundleDefinition:
        """Read the configuration files of a bundle; nothing is executed or built yet.

        Raises:
            BundleError: a file is missing or wrong.
        """
        folder = folder.resolve()
        try:
            manifest = load_manifest(folder / MANIFEST_FILE)
        except ManifestError as error:
            raise BundleError(str(error)) from error
        metadata = _read_json(folder / METADATA_FILE)
        missing = [key for key in REQUIRED_METADATA if key not in metadata]
        if missing:
            raise BundleError(f"{folder / METADATA_FILE}: add {', '.join(missing)} (MONAI bundle metadata schema).")
        inference = _read_json(folder / INFERENCE_FILE)
        for key in ("network_def", "preprocessing"):
            if key not in inference:
                raise BundleError(f"{folder / INFERENCE_FILE}: has no {key!r}; the node needs it to run the model.")
        return cls(folder, manifest, metadata, inference)

    @property
    def name(self) -> str:
        """The model's name: the folder's."""
        return self.folder.name

    @property
    def version(self) -> str:
        """The model's version, from the metadata."""
        return str(self.metadata["version"])

    def network(self) -> nn.Module:
        """Build the network with random weights, in PyTorch.

        Raises:
            BundleError: ``network_def`` does not describe a network, or PyTorch and MONAI are not installed.
        """
        network = self._parse("network_def")
        if not callable(getattr(network, "state_dict", None)):
            raise BundleError(f"{self.folder / INFERENCE_FILE}: network_def gives no torch.nn.Module but {network!r}.")
        module: nn.Module = network
        return module

    def preprocessing(self) -> Preprocessing:
        """Build the transforms that stand between the display grey of an image and the network.

        Raises:
            BundleError: ``preprocessing`` does not describe MONAI transforms, or needs MONAI, which is not installed.
        """
        steps = array_steps(self.inference["preprocessing"])
        if steps is None:
            transforms = self._parse("preprocessing")
            if not callable(transforms):
                path = self.folder / INFERENCE_FILE
                raise BundleError(f"{path}: preprocessing gives no transform but {transforms!r}.")
            from dicom_node.inference.monai_transforms import monai_step

            steps = (monai_step(transforms),)
        return Preprocessing(steps, self.manifest.input)

    def _parse(self, key: str) -> Any:
        path = self.folder / INFERENCE_FILE
        try:
            from monai.bundle.config_parser import ConfigParser
        except ModuleNotFoundError as error:
            raise BundleError(
                f"{path}: {key} can only be built with MONAI and PyTorch: pip install 'dicom-node[torch]'."
            ) from error
        parser = ConfigParser(dict(self.inference))
        try:
            if "imports" in self.inference:  # what the bundle's $ expressions refer to
                parser.get_parsed_content("imports")
            return parser.get_parsed_content(key)
        except (ImportError, KeyError, RuntimeError, TypeError, ValueError, ModuleNotFoundError) as error:
            raise BundleError(f"{path}: {key} cannot be built: {error}") from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}. A bundle needs this file.") from error
    except json.JSONDecodeError as error:
        raise BundleError(f"{path}: not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise BundleError(f"{path}: must hold a JSON object.")
    return content


def sha256(path: Path) -> str:
    """Digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def weights_digest(path: Path) -> str:
    """Return the SHA-256 of the weights file, in hexadecimal.

    Raises:
        BundleError: the file cannot be read.
    """
    try:
        return sha256(path)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}. Train the model or copy its weights.") from error
