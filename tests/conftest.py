"""What tests of every stage share: synthetic studies, the optional real data, free ports."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.demo import phantoms, processes
from tests.receiving_node import ReceivingNode
from tests.storage_scp import ProgrammableStorage

# Nodes that tests start have an empty data folder, and would each convert every network before they begin.
os.environ.setdefault("DICOM_NODE_WORKER__BACKEND", "torch")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_dicom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of real DICOM samples (ct_chest, cxr, …), extracted once."""
    archive = SHARED_DATA / "dicom.tar.xz"
    if not archive.is_file():
        pytest.skip(f"no real DICOM samples: {archive} is missing")
    folder = tmp_path_factory.mktemp("shared")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return next(path.parent for path in folder.rglob("ct_chest"))


@pytest.fixture(scope="session")
def phantom_chest_ct() -> list[Dataset]:
    """A small synthetic chest CT: 16 slices, 128 squared. Copy what is to be changed."""
    return phantoms.chest_ct(slices=16, size=128)


@pytest.fixture(scope="session")
def phantom_abdomen_ct() -> list[Dataset]:
    """A small synthetic abdominal CT: 16 slices, 128 squared. Copy what is to be changed."""
    return phantoms.abdomen_ct(slices=16, size=128)


@pytest.fixture(scope="session")
def phantom_radiograph() -> Dataset:
    """A synthetic chest radiograph, 512 squared. Copy it before changing it."""
    return phantoms.chest_radiograph(size=512)[0]


@pytest.fixture
def free_port() -> int:
    """A TCP port on loopback that nothing listens on."""
    return processes.free_port()


@pytest.fixture
def storage_scp(free_port: int) -> Iterator[ProgrammableStorage]:
    """A listening storage SCP whose answers the test sets."""
    storage = ProgrammableStorage(free_port).start()
    yield storage
    storage.stop()


@pytest.fixture
def start_receiving() -> Iterator[Callable[..., ReceivingNode]]:
    nodes: list[ReceivingNode] = []

    def start(folder: Path, **receive: object) -> ReceivingNode:
        nodes.append(ReceivingNode(folder, **receive))
        return nodes[-1]

    yield start
    for node in nodes:
        node.stop()
