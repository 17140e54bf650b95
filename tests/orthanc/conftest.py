"""A real Orthanc with the plugin, between a stand-in for the node and the test that plays the modality."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.orthanc.peers import PLUGIN, ListeningNode, RoutingOrthanc

sys.path.insert(0, str(PLUGIN.parent))  # Orthanc's Python finds node_routing beside the plugin as well


@pytest.fixture(scope="session")
def needs_orthanc() -> None:
    """Skip where Orthanc or its Python plugin is not installed."""
    if not RoutingOrthanc.is_installed():
        pytest.skip("Orthanc with Python is not installed (Debian: orthanc orthanc-python)")


@pytest.fixture(scope="session")
def node(needs_orthanc: None) -> Iterator[ListeningNode]:
    """What stands in for the node. Tests that stop it start it again."""
    with ListeningNode() as listening:
        yield listening


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory, node: ListeningNode) -> Iterator[RoutingOrthanc]:
    """An Orthanc that routes to ``node``."""
    with RoutingOrthanc(tmp_path_factory.mktemp("orthanc"), node.dicom_port, node.url) as running:
        yield running
