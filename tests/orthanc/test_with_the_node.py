"""From Orthanc to a real node and back, with a model whose weights are random."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.config import Config
from dicom_node.demo.node import Node
from dicom_node.demo.processes import free_port
from dicom_node.domain import Role
from tests.inference.bundles import write_bundle
from tests.orthanc.peers import RoutingOrthanc, more_images, tiny_study, wait_until

QUIET_SECONDS = 60.0  # far beyond the test: only a release starts an analysis


@pytest.fixture
def routed(needs_orthanc: None, tmp_path: Path) -> Iterator[tuple[RoutingOrthanc, Node]]:
    """An Orthanc and a node that send to one another."""
    write_bundle(tmp_path / "models" / "tiny")
    ports = free_port(), free_port()
    orthanc = RoutingOrthanc(tmp_path / "orthanc", ports[0], f"http://127.0.0.1:{ports[1]}")
    own = {"models_folder": str(tmp_path / "models"), "database_url": Config().node.database_url}
    archive = ("ARCHIVE", orthanc.dicom_port)
    node = Node(tmp_path / "node", archive, quiet_seconds=QUIET_SECONDS, ports=ports, settings={"node": own})
    orthanc.use_key(node.add_key(Role.OPERATOR))
    with orthanc, node:
        yield orthanc, node


def test_results_come_back_are_marked_and_are_not_sent_again(routed: tuple[RoutingOrthanc, Node]) -> None:
    orthanc, node = routed
    study = tiny_study(images=4)
    uid = study[0].StudyInstanceUID

    identifier = orthanc.upload(study)
    orthanc.await_state(identifier, "delivered", seconds=QUIET_SECONDS / 2)
    wait_until(lambda: len(marked(orthanc, identifier)) == 2, lambda: "two series of results are not marked")
    orthanc.upload(more_images(study))
    wait_until(lambda: len(analyses(node, uid)) == 2, lambda: f"analyses: {analyses(node, uid)}")
    orthanc.await_state(identifier, "delivered", seconds=QUIET_SECONDS / 2)
    wait_until(lambda: len(marked(orthanc, identifier)) == 4, lambda: "the new results are not marked")

    held = node.study(uid)
    assert held is not None
    assert [series["instances"] for series in held["series"]] == [5]  # the images, and nothing of the node's own


def marked(orthanc: RoutingOrthanc, identifier: str) -> list[str]:
    """The modalities of the series of a study that are marked as results."""
    return [
        series["MainDicomTags"]["Modality"]
        for series in orthanc.client.get(f"/studies/{identifier}/series").json()
        if "AiResult" in orthanc.client.get(f"/series/{series['ID']}/metadata").json()
    ]


def analyses(node: Node, uid: str) -> list[object]:
    """The analyses that the node has made of a study."""
    study = node.study(uid)
    return [] if study is None else list(study["analyses"])
