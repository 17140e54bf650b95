"""A node between real peers: DCMTK sends, a real Orthanc sends and gets the results."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.demo.archives import Orthanc
from dicom_node.demo.node import Node
from dicom_node.demo.processes import free_port
from tests.peers.traffic import SentStudy, as_new_study, send_with_dcmtk, send_with_orthanc, upload

QUIET_SECONDS = 1.5
MODELS = Path(__file__).resolve().parents[2] / "models"


@pytest.fixture(scope="session")
def node_ports() -> tuple[int, int]:
    """DICOM and web port of the node, known before it starts: Orthanc has to list it."""
    return free_port(), free_port()


@pytest.fixture(scope="session")
def orthanc(tmp_path_factory: pytest.TempPathFactory, node_ports: tuple[int, int]) -> Iterator[Orthanc]:
    """A running Orthanc with the node among its modalities."""
    if not Orthanc.is_installed():
        pytest.skip("Orthanc is not installed (Debian: orthanc orthanc-dicomweb)")
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {"node": ("DICOMNODE", node_ports[0])}) as archive:
        yield archive


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory, node_ports: tuple[int, int], orthanc: Orthanc) -> Iterator[Node]:
    """A running node with the project's own models, which delivers to Orthanc."""
    if not any(MODELS.glob("*/configs/node.yaml")):
        pytest.skip(f"no models in {MODELS}")
    folder = tmp_path_factory.mktemp("node")
    with Node(
        folder,
        (orthanc.ae_title, orthanc.dicom_port),
        quiet_seconds=QUIET_SECONDS,
        ports=node_ports,
        settings={"node": {"models_folder": str(MODELS)}},
    ) as running:
        yield running


@pytest.fixture(scope="session")
def dcmsend() -> str:
    """DCMTK's storage SCU."""
    program = shutil.which("dcmsend")
    if program is None:
        pytest.skip("dcmsend (dcmtk) is not installed")
    return program


@pytest.fixture(scope="session")
def ct_by_dcmtk(node: Node, shared_dicom: Path, dcmsend: str) -> SentStudy:
    """A real chest CT of 98 slices, sent with dcmsend; Orthanc has only its results."""
    return send_with_dcmtk(dcmsend, node, sorted((shared_dicom / "ct_chest").glob("*.dcm")))


@pytest.fixture(scope="session")
def radiograph_by_dcmtk(node: Node, shared_dicom: Path, dcmsend: str) -> SentStudy:
    """A real CR, sent with dcmsend; Orthanc has only its results."""
    return send_with_dcmtk(dcmsend, node, [shared_dicom / "cxr" / "gdcm-CR-MONO1-10-chest.dcm"])


@pytest.fixture(scope="session")
def ct_by_orthanc(
    node: Node, orthanc: Orthanc, shared_dicom: Path, tmp_path_factory: pytest.TempPathFactory
) -> SentStudy:
    """The same CT under new UIDs, in Orthanc and sent from there."""
    files = sorted((shared_dicom / "ct_chest").glob("*.dcm"))
    study = upload(orthanc, as_new_study(files, tmp_path_factory.mktemp("ct")))
    return send_with_orthanc(orthanc, study)


@pytest.fixture(scope="session")
def radiograph_by_orthanc(node: Node, orthanc: Orthanc, shared_dicom: Path) -> SentStudy:
    """A real DX (MONOCHROME1, JPEG 2000), in Orthanc and sent from there."""
    study = upload(orthanc, [shared_dicom / "cxr" / "dx_pa_mono1_j2k_2128x2000.dcm"])
    return send_with_orthanc(orthanc, study)


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where screenshots and result objects are kept: $TEST_ARTEFACTS, else the tests' temporary folder."""
    chosen = os.environ.get("TEST_ARTEFACTS")
    folder = Path(chosen) if chosen else tmp_path_factory.mktemp("artefacts")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
