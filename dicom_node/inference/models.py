"""The models of a node: every bundle in a folder, loaded once and kept warm, run as it was decided."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from dicom_node.domain import Gpu
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.backends.residence import Residence, ResidentNetwork
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleDefinition, BundleError
from dicom_node.inference.deployment import Deployment
from dicom_node.inference.discovery import bundle_folders
from dicom_node.inference.pinning import check_pinned
from dicom_node.inference.reader import ModelReader
from dicom_node.manifest import BundleManifest

log = logging.getLogger(__name__)

_AS_INSTALLED = Deployment()


@dataclass(frozen=True, slots=True, eq=False)
class ShadowReader:
    """A loaded version that reads beside the one in use."""

    version_id: int
    reader: ModelReader


class Models:
    """Owns the loaded bundles of a folder, one a subfolder, each run as its deployment says.

    ``manifests`` are of all bundles whose configuration is sound; ``unavailable`` says of the others, and of those
    that would not load, why. A bundle that is switched off is not loaded. Where digests are ``pinned`` by name, only
    the bundles that have them are opened. Their networks share ``memory`` bytes; None: all stay open.

    What is given out stays as it is: ``deploy`` puts other manifests and readers in place of the former ones, and a
    series that is being read is read to its end by the reader that it began with.

    Raises:
        BundleError: there is no such folder.
    """

    def __init__(
        self,
        folder: Path,
        backend: Backend,
        pinned: Mapping[str, str] = MappingProxyType({}),
        deployments: Mapping[str, Deployment] = MappingProxyType({}),
        memory: int | None = None,
    ) -> None:
        self._residence = Residence(memory)
        self._backend = replace(backend, give_way=self._residence.give_way)
        self._pinned = pinned
        self._installed = {bundle.name: bundle for bundle in bundle_folders(folder)}
        self._deployments = {name: deployments.get(name, _AS_INSTALLED) for name in self._installed}
        self.manifests: dict[str, BundleManifest] = {}
        self.unavailable: dict[str, str] = {}
        self._definitions: dict[str, BundleDefinition] = {}
        self._readers: dict[str, ModelReader] = {}
        self._shadows: dict[str, ShadowReader] = {}
        self._changing = threading.Lock()
        for name in self._installed:
            self._define(name)

    def load(self, only: str | None = None) -> None:
        """Load and warm the bundles that are switched on, or just ``only``. One that fails is noted, not raised."""
        for name, manifest in self.manifests.items():
            if manifest.enabled and only in (None, name):
                self._open(name)

    def deploy(self, deployments: Mapping[str, Deployment]) -> tuple[str, ...]:
        """Run the models as these say from now on; returns the names of those for which that is a change."""
        with self._changing:
            wanted = {name: deployments.get(name, _AS_INSTALLED) for name in self._installed}
            changed = tuple(name for name in wanted if wanted[name] != self._deployments[name])
            for name in changed:
                self._deployments[name] = wanted[name]
                self._define(name)
                if name in self.manifests and self.manifests[name].enabled:
                    self._open(name)
        return changed

    def reader(self, name: str) -> ModelReader:
        """The loaded model of that name.

        Raises:
            KeyError: it is not loaded; see ``unavailable``.
        """
        return self._readers[name]

    @property
    def trouble(self) -> str:
        """Which models do not run where they should, and why; empty where all do."""
        networks = {name: reader.bundle.network for name, reader in self._readers.items()}
        return "; ".join(
            f"{name} runs in {network.place}"
            for name, network in sorted(networks.items())
            if isinstance(network, ResidentNetwork) and network.trouble
        )

    @property
    def gpus(self) -> list[Gpu]:
        """The GPUs that the models may run on, with their memory."""
        return self._backend.gpus()

    def shadow(self, name: str) -> ShadowReader | None:
        """The version that reads beside the model of that name, if one does."""
        return self._shadows.get(name)

    def _define(self, name: str) -> None:
        deployment = self._deployments[name]
        unavailable = {model: why for model, why in self.unavailable.items() if model != name}
        try:
            definition = self._trusted(deployment.folder or self._installed[name])
        except BundleError as error:
            self.manifests = {model: manifest for model, manifest in self.manifests.items() if model != name}
            self.unavailable = unavailable | {name: str(error)}
            return
        manifest = deployment.applied_to(definition.manifest)
        self._definitions[name] = replace(definition, manifest=manifest)
        self.manifests = self.manifests | {name: manifest}
        self.unavailable = unavailable

    def _trusted(self, folder: Path) -> BundleDefinition:
        check_pinned(folder, self._pinned)  # before anything of it is opened
        return BundleDefinition.load(folder)

    def _open(self, name: str) -> None:
        definition, loaded = self._definitions[name], self._readers.get(name)
        try:
            if loaded is not None and loaded.bundle.definition.folder == definition.folder:
                self._readers[name] = loaded.run_as(definition)
            else:
                self._readers[name] = self._loaded(definition.folder).run_as(definition)
            self._open_shadow(name)
        except BundleError as error:
            log.error("model %s cannot be loaded: %s", name, error)
            self.unavailable = self.unavailable | {name: str(error)}

    def _open_shadow(self, name: str) -> None:
        deployment, former = self._deployments[name], self._shadows.pop(name, None)
        if deployment.shadow is None:
            return
        if former is not None and former.version_id == deployment.shadow.version_id:
            loaded = former.reader
        else:
            try:
                self._trusted(deployment.shadow.folder)
                loaded = self._loaded(deployment.shadow.folder)
            except BundleError as error:
                log.error("the version of %s in shadow cannot be loaded: %s", name, error)
                return
        definition = loaded.bundle.definition
        run_as = replace(definition, manifest=deployment.applied_to(definition.manifest))
        self._shadows[name] = ShadowReader(deployment.shadow.version_id, loaded.run_as(run_as))

    def _loaded(self, folder: Path) -> ModelReader:
        reader = ModelReader(Bundle.load(folder, self._backend, even_if_disabled=True, residence=self._residence))
        reader.warm_up()
        return reader
