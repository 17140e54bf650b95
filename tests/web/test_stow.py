"""STOW-RS: the same guarantees as C-STORE, over HTTP."""

from __future__ import annotations

import copy
import http.client
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
import sqlalchemy as sa
import uvicorn
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydicom import Dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from dicom_node.config import Config
from dicom_node.database import Database
from dicom_node.demo.archives import PLUGINS, Orthanc
from dicom_node.domain import Role, StudyState
from dicom_node.tables import InstanceRow, RefusalRow, StudyRow
from dicom_node.web import create_app
from tests.web.conftest import log_in

BOUNDARY = "part-of-the-way"
FORM = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


@pytest.fixture
def config(config: Config) -> Config:
    web = config.web.model_copy(update={"stow": True, "maximum_request_megabytes": 1})
    return config.model_copy(update={"web": web})


@pytest.fixture
def sender(app: FastAPI) -> TestClient:
    return log_in(app, Role.OPERATOR)


def _bytes(dataset: Dataset) -> bytes:
    buffer = BytesIO()
    pydicom.dcmwrite(buffer, dataset, enforce_file_format=True)
    return buffer.getvalue()


def _body(*parts: bytes, kind: str = "application/dicom") -> bytes:
    heads = (f"--{BOUNDARY}\r\nContent-Type: {kind}\r\n\r\n".encode() + part + b"\r\n" for part in parts)
    return b"".join(heads) + f"--{BOUNDARY}--\r\n".encode()


def _store(client: TestClient, *parts: bytes, study: str = "", **headers: str) -> Any:
    path = f"/dicom-web/studies/{study}" if study else "/dicom-web/studies"
    return client.post(path, content=_body(*parts), headers={"content-type": FORM, **headers})


def _other(dataset: Dataset, **changes: Any) -> Dataset:
    changed = copy.deepcopy(dataset)
    for keyword, value in changes.items():
        setattr(changed, keyword, value)
    changed.file_meta.MediaStorageSOPInstanceUID = changed.SOPInstanceUID
    changed.file_meta.MediaStorageSOPClassUID = changed.SOPClassUID
    return changed


def test_stored_objects_are_on_disk_and_indexed_before_the_answer(
    sender: TestClient, config: Config, database: Database, phantom_chest_ct: list[Dataset]
) -> None:
    answer = _store(sender, *map(_bytes, phantom_chest_ct))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/dicom+json"
    assert len(answer.json()["00081199"]["Value"]) == len(phantom_chest_ct)
    with database.reading() as session:
        paths = session.scalars(sa.select(InstanceRow.path)).all()
        study = session.scalars(sa.select(StudyRow)).one()
    assert study.state is StudyState.RECEIVING
    assert study.calling_ae_title == "operator"
    held = {pydicom.dcmread(config.instances_folder / path).SOPInstanceUID for path in paths}
    assert held == {dataset.SOPInstanceUID for dataset in phantom_chest_ct}
    assert list(config.incoming_folder.iterdir()) == []


def test_a_request_larger_than_other_requests_may_be_is_taken(sender: TestClient, phantom_radiograph: Dataset) -> None:
    large = _other(phantom_radiograph, PixelData=bytes(2 << 20), Rows=1024, Columns=1024)

    assert _store(sender, _bytes(large)).status_code == 200


def test_of_good_and_damaged_objects_the_good_are_kept_and_the_others_named(
    sender: TestClient, database: Database, phantom_chest_ct: list[Dataset]
) -> None:
    good, cut = _bytes(phantom_chest_ct[0]), _bytes(phantom_chest_ct[1])[:-100]

    answer = _store(sender, good, cut)

    assert answer.status_code == 202
    (kept,) = answer.json()["00081199"]["Value"]
    (failed,) = answer.json()["00081198"]["Value"]
    assert kept["00081155"]["Value"] == [phantom_chest_ct[0].SOPInstanceUID]
    assert failed["00081197"]["Value"] == [0xC000]
    with database.reading() as session:
        assert session.scalar(sa.select(RefusalRow.code)) == "damaged"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"SOPClassUID": MRImageStorage}, 0x0122), ({"StudyInstanceUID": "1.2.3"}, 0xA900)],
)
def test_what_is_of_another_kind_or_study_is_refused_with_409(
    sender: TestClient, phantom_chest_ct: list[Dataset], changes: dict[str, str], reason: int
) -> None:
    study = phantom_chest_ct[0].StudyInstanceUID

    answer = _store(sender, _bytes(_other(phantom_chest_ct[0], **changes)), study=study)

    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [reason]
    assert "00081199" not in answer.json()


def test_a_syntax_that_an_association_would_not_agree_on_is_refused(
    sender: TestClient, phantom_chest_ct: list[Dataset]
) -> None:
    content = _bytes(phantom_chest_ct[0]).replace(ExplicitVRLittleEndian.encode() + b"\0", b"1.2.840.10008.1.2.9\0", 1)

    answer = _store(sender, content)

    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xC122]


def test_nothing_is_taken_while_the_disk_is_short(
    config: Config, database: Database, phantom_chest_ct: list[Dataset]
) -> None:
    receive = config.receive.model_copy(update={"minimum_free_megabytes": 1 << 40})
    sender = log_in(create_app(config.model_copy(update={"receive": receive}), database), Role.OPERATOR)

    answer = _store(sender, _bytes(phantom_chest_ct[0]))

    assert answer.status_code == 409
    assert answer.json()["00081198"]["Value"][0]["00081197"]["Value"] == [0xA700]


@pytest.mark.parametrize(
    ("form", "body", "status"),
    [
        ("application/dicom", b"", 415),
        (FORM.replace("application/dicom", "application/dicom+json"), b"", 415),
        (FORM, b"no parts at all", 400),
        (FORM, _body(b"x" * 200)[:100], 400),
        (FORM, _body(b"text", kind="text/plain"), 400),
        (FORM, f"--{BOUNDARY}\r\nX: {'y' * 20000}\r\n\r\nz\r\n--{BOUNDARY}--".encode(), 400),
    ],
)
def test_a_broken_request_is_told_what_is_wanted_and_leaves_nothing_behind(
    sender: TestClient, config: Config, form: str, body: bytes, status: int
) -> None:
    answer = sender.post("/dicom-web/studies", content=body, headers={"content-type": form})

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert not config.incoming_folder.exists() or list(config.incoming_folder.iterdir()) == []


def test_a_form_of_answer_that_there_is_not_is_refused(sender: TestClient, phantom_chest_ct: list[Dataset]) -> None:
    assert _store(sender, _bytes(phantom_chest_ct[0]), accept="application/dicom+xml").status_code == 406


def test_viewers_and_strangers_store_nothing(
    app: FastAPI, viewer: TestClient, anonymous: TestClient, phantom_chest_ct: list[Dataset]
) -> None:
    content = _bytes(phantom_chest_ct[0])

    assert _store(viewer, content).status_code == 403
    assert _store(anonymous, content).status_code == 401


def test_without_the_setting_there_is_no_such_address(config: Config, database: Database) -> None:
    web = config.web.model_copy(update={"stow": False})
    client = log_in(create_app(config.model_copy(update={"web": web}), database), Role.OPERATOR)

    assert client.post("/dicom-web/studies", content=b"", headers={"content-type": FORM}).status_code == 404


@pytest.fixture
def address(app: FastAPI, free_port: int) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=free_port, log_level="warning", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{free_port}"
    server.should_exit = True
    thread.join()


def test_dicomweb_client_stores_with_an_api_key(
    address: str, app: FastAPI, database: Database, phantom_chest_ct: list[Dataset]
) -> None:
    api = pytest.importorskip("dicomweb_client.api", reason="dicomweb-client is not installed")
    _, secret = app.state.api_keys.add("router", Role.OPERATOR)
    client = api.DICOMwebClient(f"{address}/dicom-web", headers={"Authorization": f"Bearer {secret}"})

    answer = client.store_instances([_as_file(dataset) for dataset in phantom_chest_ct])

    assert len(answer.ReferencedSOPSequence) == len(phantom_chest_ct)
    with database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(InstanceRow)) == len(phantom_chest_ct)
        assert session.scalars(sa.select(StudyRow.calling_ae_title)).one() == "router"


def _as_file(dataset: Dataset) -> Dataset:
    """As it is read from a file: dicomweb-client leaves the preamble out where the data set has none."""
    return pydicom.dcmread(BytesIO(_bytes(dataset)))


def test_orthanc_stores_as_a_dicomweb_client(
    address: str, app: FastAPI, database: Database, phantom_chest_ct: list[Dataset], tmp_path: Path
) -> None:
    if not Orthanc.is_installed() or not list(PLUGINS.glob("libOrthancDicomWeb*.so")):
        pytest.skip("Orthanc is not installed with its DICOMweb plug-in (Debian: orthanc orthanc-dicomweb)")
    _, secret = app.state.api_keys.add("orthanc", Role.OPERATOR)
    server = {"Url": f"{address}/dicom-web", "HttpHeaders": {"Authorization": f"Bearer {secret}"}}
    with Orthanc(tmp_path / "orthanc", {}) as orthanc, httpx.Client(base_url=orthanc.url, timeout=60) as client:
        for dataset in phantom_chest_ct:
            client.post("/instances", content=_bytes(dataset)).raise_for_status()
        client.put("/dicom-web/servers/node", json=server).raise_for_status()
        job = {"Resources": client.get("/studies").json(), "Synchronous": True}
        client.post("/dicom-web/servers/node/stow", json=job).raise_for_status()

    with database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(InstanceRow)) == len(phantom_chest_ct)


def test_a_sender_that_goes_away_in_the_middle_leaves_no_file(
    address: str, app: FastAPI, config: Config, phantom_chest_ct: list[Dataset]
) -> None:
    _, secret = app.state.api_keys.add("router", Role.OPERATOR)
    content = _body(_bytes(phantom_chest_ct[0]))
    connection = http.client.HTTPConnection(address.removeprefix("http://"))
    connection.putrequest("POST", "/dicom-web/studies")
    for name, value in {
        "Content-Type": FORM,
        "Content-Length": str(len(content)),
        "Authorization": f"Bearer {secret}",
    }.items():
        connection.putheader(name, value)
    connection.endheaders(content[: len(content) // 2])
    deadline = time.monotonic() + 5
    while not _incoming(config) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _incoming(config)

    connection.close()

    while _incoming(config) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert _incoming(config) == []


def _incoming(config: Config) -> list[Path]:
    return list(config.incoming_folder.iterdir()) if config.incoming_folder.exists() else []
