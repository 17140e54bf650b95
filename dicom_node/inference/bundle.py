"""A bundle ready to run: its network with weights, on a backend."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from dicom_node.domain import ModelIdentity
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.backends.network import Network
from dicom_node.inference.backends.residence import Residence
from dicom_node.inference.definition import WEIGHTS_FILE, BundleDefinition, BundleError, weights_digest
from dicom_node.inference.gate import GATE_FILE, GateError, InputGate
from dicom_node.inference.preprocessing import Preprocessing
from dicom_node.manifest import BundleManifest


@dataclass(frozen=True, slots=True, eq=False)
class Bundle:
    """A loaded bundle; ``gate`` is None where the bundle has none, and every image is let by."""

    definition: BundleDefinition
    network: Network
    preprocessing: Preprocessing
    identity: ModelIdentity
    gate: InputGate | None = None

    @classmethod
    def load(
        cls, folder: Path, backend: Backend, *, even_if_disabled: bool = False, residence: Residence | None = None
    ) -> Bundle:
        """Load a bundle folder; one that is switched off only on request, to evaluate it.

        With a ``residence`` the network is opened by its first use, and closed when others need the memory.

        Raises:
            BundleError: a file is missing or wrong, the weights do not fit the network, the bundle is disabled, or
                the backend cannot run it.
        """
        definition = BundleDefinition.load(folder)
        if not (definition.manifest.enabled or even_if_disabled):
            raise BundleError(f"{definition.folder}: the model is disabled (enabled: false in configs/node.yaml).")
        digest = weights_digest(definition.folder / WEIGHTS_FILE)
        network: Network
        if residence is None:
            network = backend.open(definition, digest)
        else:
            size = (definition.folder / WEIGHTS_FILE).stat().st_size
            network = residence.resident(definition.name, size, lambda: backend.open(definition, digest))
        identity = ModelIdentity(definition.name, definition.version, digest)
        return cls(definition, network, definition.preprocessing(), identity, _gate(definition.folder / GATE_FILE))

    def run_as(self, definition: BundleDefinition) -> Bundle:
        """The same network under another manifest, whose operating points become part of its identity."""
        own = BundleDefinition.load(definition.folder).manifest
        decided = tuple(
            (finding.name, finding.operating_point)
            for finding, before in zip(definition.manifest.findings, own.findings, strict=True)
            if finding.operating_point != before.operating_point
        )
        return replace(self, definition=definition, identity=replace(self.identity, decided=decided))

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


def _gate(path: Path) -> InputGate | None:
    try:
        return InputGate.load(path) if path.is_file() else None
    except GateError as error:
        raise BundleError(str(error)) from error
