"""Finds the bundles of a models folder and says what is wrong with them, without loading weights."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from dicom_node.inference.definition import (
    MANIFEST_FILE,
    METADATA_FILE,
    MODEL_CARD_FILE,
    WEIGHTS_FILE,
    BundleDefinition,
    BundleError,
)
from dicom_node.manifest import BundleManifest, ManifestError, load_manifest


@dataclass(frozen=True, slots=True)
class DiscoveredBundle:
    """A bundle folder and what its manifest says."""

    name: str
    folder: Path
    manifest: BundleManifest


def discover_bundles(models_folder: Path) -> tuple[DiscoveredBundle, ...]:
    """Return every bundle of the folder by name; disabled ones too, as their manifests say.

    A subfolder counts as a bundle when it has ``configs/node.yaml`` or ``configs/metadata.json``.

    Raises:
        BundleError: the folder is missing or a manifest is wrong.
    """
    bundles = []
    for folder in bundle_folders(models_folder):
        try:
            manifest = load_manifest(folder / MANIFEST_FILE)
        except ManifestError as error:
            raise BundleError(str(error)) from error
        bundles.append(DiscoveredBundle(folder.name, folder, manifest))
    return tuple(bundles)


def bundle_folders(models_folder: Path) -> tuple[Path, ...]:
    """Return the bundle folders in ``models_folder``, sorted by name.

    Raises:
        BundleError: there is no such folder.
    """
    if not models_folder.is_dir():
        raise BundleError(f"{models_folder}: no such folder. Set the models folder in the configuration.")
    return tuple(
        folder
        for folder in sorted(models_folder.iterdir())
        if (folder / MANIFEST_FILE).is_file() or (folder / METADATA_FILE).is_file()
    )


def check_bundle(folder: Path) -> tuple[str, ...]:
    """Return what is wrong with a bundle, one sentence each; empty where it can be used.

    Preprocessing and, where PyTorch is installed, the network are built, which executes ``$`` expressions.
    """
    try:
        definition = BundleDefinition.load(folder)
        definition.preprocessing()
        layers = None if find_spec("torch") is None else {name for name, _ in definition.network().named_modules()}
    except BundleError as error:
        return (str(error),)
    problems = []
    if definition.manifest.enabled and not (folder / WEIGHTS_FILE).is_file():
        problems.append(f"{folder / WEIGHTS_FILE}: missing. Train the model, copy its weights, or disable the bundle.")
    if not (folder / MODEL_CARD_FILE).is_file():
        problems.append(f"{folder / MODEL_CARD_FILE}: missing. A model needs a card that states its limits.")
    saliency = definition.manifest.saliency
    if layers is not None and saliency is not None and saliency.target_layer not in layers:
        names = ", ".join(sorted(name for name in layers if name.count(".") == 0 and name))
        problems.append(
            f"{folder / MANIFEST_FILE}: saliency.target_layer {saliency.target_layer!r} is not a layer of the network; "
            f"among them are {names}."
        )
    return (*problems, *_outputs_mismatch(definition))


def _outputs_mismatch(definition: BundleDefinition) -> tuple[str, ...]:
    outputs = definition.metadata.get("network_data_format", {}).get("outputs", {})
    channels = outputs.get("pred", {}).get("num_channels")
    expected = len(definition.manifest.classes)
    if channels is not None and channels != expected:
        path = definition.folder / METADATA_FILE
        return (f"{path}: the network has {channels} outputs, but configs/node.yaml lists {expected} classes.",)
    return ()
