"""A PostgreSQL server that is stopped while images arrive, are analysed and are looked at, and started again."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from pydicom import Dataset

from benchmarks.postgresql import ServerMissing, TemporaryServer
from dicom_node.access.users import Users
from dicom_node.domain import Role, StudyState
from dicom_node.tables import AnalysisRow
from dicom_node.web.app import create_app
from tests.receiving_node import ReceivingNode, ct_image
from tests.stand_ins import StandInReader
from tests.storage_scp import ProgrammableStorage
from tests.test_workflow import NodeUnderTest

pytestmark = pytest.mark.embedded  # has a server of its own

LOGIN = {"name": "jane", "password": "correct horse battery"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[TemporaryServer]:
    with tempfile.TemporaryDirectory(prefix="dicom-node-postgresql-") as folder:
        try:
            with TemporaryServer(Path(folder)) as started:
                monkeypatch.setenv("DICOM_NODE_NODE__DATABASE_URL", started.url)
                yield started
        except ServerMissing as missing:
            pytest.skip(str(missing))


def test_images_are_refused_and_pages_say_so_until_the_server_is_back(server: TemporaryServer, tmp_path: Path) -> None:
    node = ReceivingNode(tmp_path)
    Users(node.database).add("jane", Role.OPERATOR, LOGIN["password"])
    browser = TestClient(create_app(node.config, node.database), raise_server_exceptions=False, follow_redirects=False)
    before, during, after = ct_image("1.2.3"), ct_image("1.2.4"), ct_image("1.2.5")
    try:
        assert browser.post("/login", data=LOGIN).status_code == 303
        assert node.send([before]) == [0x0000]

        server.stop()
        assert node.send([during, during]) == [0xA700, 0xA700]
        page, answer = browser.get("/"), browser.get("/api/studies")
        server.start()

        assert (page.status_code, answer.status_code) == (503, 503)
        assert "The database does not answer" in page.text
        assert "Traceback" not in page.text + answer.text
        assert node.send([after, during]) == [0x0000, 0x0000]
        assert node.held() == {image.SOPInstanceUID for image in (before, during, after)}
        assert browser.get("/").status_code == 200
        assert browser.get("/healthz").status_code == 200
    finally:
        node.stop()


def test_a_study_in_the_middle_of_its_analysis_is_delivered_once_when_the_server_is_back(
    server: TemporaryServer, storage_scp: ProgrammableStorage, phantom_abdomen_ct: list[Dataset], tmp_path: Path
) -> None:
    """The workflow engine's tables are on the same server: its threads and the node's own lose it at once."""
    node = NodeUnderTest(tmp_path, storage_scp.port)
    reading, gone = threading.Event(), threading.Event()

    def read_while_the_server_stops() -> None:
        reading.set()
        gone.wait(30)

    try:
        node.work(StandInReader(read_while_the_server_stops))
        uid = node.receive(phantom_abdomen_ct)
        assert reading.wait(60)

        server.stop()
        gone.set()
        time.sleep(2)
        server.start()

        study = node.wait_for(uid, StudyState.DELIVERED)
        assert study.reason == ""
        assert sorted(received.Modality for received in storage_scp.received) == ["OT", "SR"]
        assert [row.interrupted for row in node.rows(AnalysisRow)] == [0], "to wait is not to crash"
    finally:
        node.close()
