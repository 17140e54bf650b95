"""What tests of every stage share: synthetic studies, the optional real data, free ports."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset

from benchmarks import postgresql
from benchmarks.s3_server import S3Server, S3ServerMissing
from dicom_node.config import Config, NodeSection
from dicom_node.database import Database
from dicom_node.demo import phantoms, processes
from tests.receiving_node import ReceivingNode
from tests.storage_scp import ProgrammableStorage

# Nodes that tests start have an empty data folder, and would each convert every network before they begin.
os.environ.setdefault("DICOM_NODE_WORKER__BACKEND", "torch")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[sa.Engine]:
    """A PostgreSQL server on which tests may make databases; skips where there is none."""
    try:
        with postgresql.server() as server:
            yield server
    except postgresql.ServerMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def postgresql_url(postgresql_server: sa.Engine) -> Iterator[str]:
    """The URL of an empty database on PostgreSQL, for a test that is about PostgreSQL."""
    with postgresql.empty_database(postgresql_server) as url:
        yield url


@pytest.fixture(scope="session")
def _s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    try:
        server = S3Server(tmp_path_factory.mktemp("s3"))
    except S3ServerMissing as missing:
        pytest.skip(str(missing))
    yield server
    server.stop()


@pytest.fixture
def s3_server(_s3_server: S3Server) -> S3Server:
    """An S3 server with an empty bucket, which the test may stop and start."""
    _s3_server.stop()
    _s3_server.empty()
    return _s3_server.start()


@pytest.fixture(autouse=True)
def database_of_the_suite(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every configuration, in the test's processes too, name an empty database where all run on PostgreSQL."""
    if postgresql.VARIABLE in os.environ and request.node.get_closest_marker("embedded") is None:
        monkeypatch.setenv("DICOM_NODE_NODE__DATABASE_URL", request.getfixturevalue("postgresql_url"))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """The tables, empty."""
    opened = Database(Config(node=NodeSection(data_folder=tmp_path)).database_url)
    opened.create_tables()
    yield opened
    opened.close()


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
