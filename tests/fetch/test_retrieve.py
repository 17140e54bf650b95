"""Studies from a real Orthanc, by C-MOVE to a node's receiver, by C-GET, by command and by rule."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import httpx
import pydicom
import pytest
import yaml
from pydicom.dataset import Dataset
from typer.testing import CliRunner

from dicom_node.cli import app
from dicom_node.config import FetchRule, Peer
from dicom_node.database import now
from dicom_node.demo.archives import Orthanc
from dicom_node.demo.processes import free_port
from dicom_node.fetch.query import study_query
from dicom_node.fetch.retrieve import FetchError, Retriever
from dicom_node.tables import InstanceRow, StudyRow
from tests.audit.schema import event_of, read_messages
from tests.receiving_node import ReceivingNode
from tests.test_workflow import NodeUnderTest


@pytest.fixture
def pacs(tmp_path: Path, phantom_chest_ct: list[Dataset]) -> Iterator[tuple[Orthanc, int]]:
    """An Orthanc that holds a study of yesterday, and the port at which it knows the node."""
    if not Orthanc.is_installed():
        pytest.skip("Orthanc is not installed (Debian: orthanc)")
    port = free_port()
    with Orthanc(tmp_path / "orthanc", {"node": ("DICOMNODE", port)}) as orthanc:
        yesterday = f"{now().astimezone() - timedelta(days=1):%Y%m%d}"
        for image in phantom_chest_ct[:3]:
            dated = pydicom.Dataset(image)
            dated.file_meta, dated.StudyDate = image.file_meta, yesterday
            file = BytesIO()
            pydicom.dcmwrite(file, dated, enforce_file_format=True)
            httpx.post(f"{orthanc.url}/instances", content=file.getvalue()).raise_for_status()
        yield orthanc, port


def _peer(orthanc: Orthanc) -> Peer:
    return Peer(name="pacs", ae_title="ARCHIVE", host="127.0.0.1", port=orthanc.dicom_port)


def _settings(tmp_path: Path, orthanc: Orthanc) -> str:
    settings = {"node": {"data_folder": str(tmp_path / "node")}, "peers": [_peer(orthanc).model_dump(mode="json")]}
    (tmp_path / "node.yaml").write_text(yaml.safe_dump(settings))
    return str(tmp_path / "node.yaml")


def test_a_study_is_moved_to_the_nodes_receiver(
    tmp_path: Path,
    pacs: tuple[Orthanc, int],
    phantom_chest_ct: list[Dataset],
    start_receiving: Callable[..., ReceivingNode],
) -> None:
    orthanc, port = pacs
    node = start_receiving(tmp_path / "node", port=port)
    uid = phantom_chest_ct[0].StudyInstanceUID

    done = CliRunner().invoke(
        app, ["fetch", "--from", "ARCHIVE", "--study", uid, "--config", _settings(tmp_path, orthanc)]
    )

    assert (done.exit_code, "3 images" in done.output) == (0, True), done.output
    assert node.held() == {image.SOPInstanceUID for image in phantom_chest_ct[:3]}


def test_a_study_is_got_without_a_receiver(
    tmp_path: Path, pacs: tuple[Orthanc, int], phantom_chest_ct: list[Dataset]
) -> None:
    uid, config = phantom_chest_ct[0].StudyInstanceUID, _settings(tmp_path, pacs[0])

    done = CliRunner().invoke(app, ["fetch", "--get", "--from", "pacs", "--study", uid, "--config", config])

    assert (done.exit_code, "3 images" in done.output) == (0, True), done.output
    node = NodeUnderTest(tmp_path / "node", None)
    assert {row.sop_instance_uid for row in node.rows(InstanceRow)} == {
        image.SOPInstanceUID for image in phantom_chest_ct[:3]
    }
    assert list(node.config.incoming_folder.iterdir()) == []
    assert [event_of(message)[0] for message in read_messages(node.config.audit_folder)] == [
        "Begin Transferring DICOM Instances",
        "DICOM Instances Transferred",
    ]
    node.close()


def test_what_cannot_be_fetched_is_told_with_what_to_check(tmp_path: Path, pacs: tuple[Orthanc, int]) -> None:
    orthanc, config = pacs[0], _settings(tmp_path, pacs[0])

    unknown = CliRunner().invoke(app, ["fetch", "--from", "pacs", "--study", "1.2.3", "--config", config])
    nobody = CliRunner().invoke(app, ["fetch", "--from", "OTHER", "--study", "1.2.3", "--config", config])
    away = _peer(orthanc).model_copy(update={"port": free_port()})

    assert (unknown.exit_code, "has no study 1.2.3" in unknown.output) == (1, True)
    assert (nobody.exit_code, "no DICOM peer 'OTHER'" in nobody.output) == (1, True)
    with pytest.raises(FetchError, match="cannot be reached"):
        Retriever("DICOMNODE", 2).find(away, study_query({}))
    with pytest.raises(FetchError, match=r"knows? this node"):
        Retriever("STRANGER", 5).move(_peer(orthanc), "1.2.3")


def test_a_rule_fetches_yesterdays_studies_once(
    tmp_path: Path,
    pacs: tuple[Orthanc, int],
    phantom_chest_ct: list[Dataset],
    start_receiving: Callable[..., ReceivingNode],
) -> None:
    orthanc, port = pacs
    rule = {"name": "ct", "from": "archive", "at": "0 0 * * *", "modalities": ["CT"]}
    node = NodeUnderTest(tmp_path / "node", orthanc.dicom_port)
    node.config = node.config.model_copy(update={"fetch": (FetchRule.model_validate(rule),)})
    start_receiving(tmp_path / "node", port=port)
    try:
        node.work()
        deadline = time.monotonic() + 30
        while len(node.rows(InstanceRow)) < 3:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        [study] = node.rows(StudyRow)
        assert study.study_instance_uid == phantom_chest_ct[0].StudyInstanceUID
    finally:
        node.close()
