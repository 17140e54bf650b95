"""The models of a node: every bundle in a folder, loaded once and kept warm."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleDefinition, BundleError
from dicom_node.inference.discovery import bundle_folders
from dicom_node.inference.pinning import check_pinned
from dicom_node.inference.reader import ModelReader
from dicom_node.manifest import BundleManifest

log = logging.getLogger(__name__)


class Models:
    """Owns the loaded bundles of a folder, one a subfolder.

    ``manifests`` are of all bundles whose configuration is sound; ``unavailable`` says of the others, and of those
    that would not load, why. A bundle that is switched off is not loaded. Where digests are ``pinned`` by name, only
    the bundles that have them are opened.

    Raises:
        BundleError: there is no such folder.
    """

    def __init__(self, folder: Path, backend: Backend, pinned: Mapping[str, str] = MappingProxyType({})) -> None:
        self._backend = backend
        self.manifests: dict[str, BundleManifest] = {}
        self.unavailable: dict[str, str] = {}
        self._folders: dict[str, Path] = {}
        self._readers: dict[str, ModelReader] = {}
        for bundle in bundle_folders(folder):
            try:
                check_pinned(bundle, pinned)  # before anything of it is opened
                self.manifests[bundle.name] = BundleDefinition.load(bundle).manifest
                self._folders[bundle.name] = bundle
            except BundleError as error:
                self.unavailable[bundle.name] = str(error)

    def load(self, only: str | None = None) -> None:
        """Load and warm the bundles that are switched on, or just ``only``. One that fails is noted, not raised."""
        for name, manifest in self.manifests.items():
            if not manifest.enabled or only not in (None, name):
                continue
            try:
                reader = ModelReader(Bundle.load(self._folders[name], self._backend))
                reader.warm_up()
            except BundleError as error:
                log.error("model %s cannot be loaded: %s", name, error)
                self.unavailable[name] = str(error)
                continue
            self._readers[name] = reader

    def reader(self, name: str) -> ModelReader:
        """The loaded model of that name.

        Raises:
            KeyError: it is not loaded; see ``unavailable``.
        """
        return self._readers[name]
