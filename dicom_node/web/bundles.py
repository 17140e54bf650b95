"""What the bundles on disk say of themselves: definition, evaluation, training, pictures; nothing is loaded or run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from dicom_node.config import Config
from dicom_node.inference.definition import (
    INFERENCE_FILE,
    MANIFEST_FILE,
    METADATA_FILE,
    WEIGHTS_FILE,
    BundleDefinition,
    BundleError,
)
from dicom_node.inference.deployment import Deployment
from dicom_node.inference.discovery import bundle_folders
from dicom_node.inference.pinning import check_pinned
from dicom_node.manifest import BundleManifest

_EVALUATION = Path("docs/evaluation.json")
_CURVES = Path("docs/curves.json")
_TRAINING = Path("docs/training.json")
_SALIENCY = Path("docs/saliency")


@dataclass(frozen=True, slots=True, eq=False)
class BundleView:
    """A bundle as it is run: its installed definition, the one in use, and what the latter's folder tells.

    ``problem`` says why it cannot be used; ``definition`` is then None. ``evaluation``, its ``curves`` and ``training``
    are None where the bundle has none.
    """

    name: str
    folder: Path
    installed_version: str
    deployment: Deployment
    definition: BundleDefinition | None
    problem: str = ""
    evaluation: Mapping[str, Any] | None = None
    curves: Mapping[str, Any] | None = None
    training: Mapping[str, Any] | None = None

    @property
    def manifest(self) -> BundleManifest | None:
        """The manifest with what was decided."""
        return None if self.definition is None else self.deployment.applied_to(self.definition.manifest)

    @property
    def has_weights(self) -> bool:
        """Whether there is something to run."""
        return (self.folder / WEIGHTS_FILE).is_file()

    @property
    def saliency(self) -> tuple[str, ...]:
        """The names of the pictures of where the model looks."""
        return tuple(sorted(path.name for path in (self.folder / _SALIENCY).glob("*.png")))


def view_bundles(config: Config, deployments: Mapping[str, Deployment]) -> list[BundleView]:
    """Every bundle of the models folder, by name; none where there is no such folder."""
    try:
        folders = bundle_folders(config.node.models_folder)
    except BundleError:
        return []
    return [_view(folder, config, deployments.get(folder.name, Deployment())) for folder in folders]


def view_bundle(config: Config, name: str, deployments: Mapping[str, Deployment]) -> BundleView | None:
    """The bundle of that name, None where there is none."""
    try:
        folders = bundle_folders(config.node.models_folder)
    except BundleError:
        return None
    found = next((folder for folder in folders if folder.name == name), None)
    return None if found is None else _view(found, config, deployments.get(name, Deployment()))


def saliency_picture(view: BundleView, picture: str) -> Path | None:
    """The file of one of ``view.saliency``."""
    return view.folder / _SALIENCY / picture if picture in view.saliency else None


def _view(installed: Path, config: Config, deployment: Deployment) -> BundleView:
    folder = deployment.folder or installed
    try:
        check_pinned(folder, config.node.bundle_digests)
        definition = _definition(folder)
    except BundleError as error:
        return BundleView(installed.name, folder, "", deployment, None, str(error))
    return BundleView(
        installed.name,
        folder,
        _installed_version(installed, definition),
        deployment,
        definition,
        evaluation=read_json(folder / _EVALUATION),
        curves=read_json(folder / _CURVES),
        training=read_json(folder / _TRAINING),
    )


def _definition(folder: Path) -> BundleDefinition:
    """A bundle's definition as it is on the disk.

    Raises:
        BundleError: a file is missing or wrong.
    """
    files = (folder / name for name in (MANIFEST_FILE, METADATA_FILE, INFERENCE_FILE))
    return _read_definition(folder, tuple(_stamp(file) for file in files))


@lru_cache(maxsize=64)
def _read_definition(folder: Path, _stamps: tuple[object, ...]) -> BundleDefinition:
    """Read anew only what has changed: to parse the manifests of all models takes longer than all else on a page."""
    return BundleDefinition.load(folder)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_ino, status.st_mtime_ns, status.st_size


def _installed_version(installed: Path, definition: BundleDefinition) -> str:
    if definition.folder == installed.resolve():
        return definition.version
    metadata = read_json(installed / "configs/metadata.json") or {}
    return str(metadata.get("version", ""))


def read_json(path: Path) -> dict[str, Any] | None:
    """A JSON object from a file; None where there is none, or something else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None
