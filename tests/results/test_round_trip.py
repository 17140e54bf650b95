"""Every kind of object goes through a real Orthanc, by C-STORE and by STOW-RS, without a value being lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pytest
from pydicom import Dataset, dcmread

from dicom_node.config import Peer
from dicom_node.deliver.sender import Sender
from dicom_node.demo.archives import PLUGINS, Orthanc
from dicom_node.domain import DeliveryState
from dicom_node.results.file import write_result
from tests.results import cases

KINDS = ("SR", "SC", "PR", "PM", "SEG")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    if not Orthanc.is_installed():
        pytest.skip("Orthanc is not installed (Debian: orthanc orthanc-dicomweb)")
    with Orthanc(tmp_path_factory.mktemp("orthanc"), {}) as archive:
        yield archive


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("results")
    stack, sources = cases.ct()
    paths = []
    for made in cases.built(stack, sources, cases.finding(stack), kinds=KINDS):
        paths.append(folder / f"{made.Modality}-{made.SOPInstanceUID}.dcm")
        write_result(made, paths[-1])
    assert len(paths) == len(KINDS)
    return paths


def _held(orthanc: Orthanc, made: Dataset) -> Dataset:
    objects = {str(item.SOPInstanceUID): item for item in orthanc.objects(made.StudyInstanceUID)}
    return objects[str(made.SOPInstanceUID)]


def _forget(orthanc: Orthanc) -> None:
    with httpx.Client(base_url=orthanc.url) as client:
        for patient in client.get("/patients").json():
            client.delete(f"/patients/{patient}").raise_for_status()


def test_by_c_store(orthanc: Orthanc, files: list[Path]) -> None:
    _forget(orthanc)
    peer = Peer(name="orthanc", ae_title=orthanc.ae_title, host="127.0.0.1", port=orthanc.dicom_port)

    outcomes = list(Sender("DICOMNODE", 30).send(peer, files))

    assert {outcome.state for _, outcome in outcomes} == {DeliveryState.DELIVERED}
    for path in files:
        made = dcmread(path)
        assert _held(orthanc, made) == made


@pytest.mark.skipif(not list(PLUGINS.glob("libOrthancDicomWeb*.so")), reason="Orthanc has no DICOMweb plug-in")
def test_by_stow_rs(orthanc: Orthanc, files: list[Path]) -> None:
    _forget(orthanc)
    boundary = uuid.uuid4().hex
    body = BytesIO()
    for path in files:
        body.write(f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + path.read_bytes() + b"\r\n")
    body.write(f"--{boundary}--\r\n".encode())
    content_type = f'multipart/related; type="application/dicom"; boundary={boundary}'

    answer = httpx.post(
        f"{orthanc.url}/dicom-web/studies",
        content=body.getvalue(),
        headers={"Content-Type": content_type, "Accept": "application/dicom+json"},
        timeout=60,
    )

    assert answer.status_code == 200, answer.text
    for path in files:
        made = dcmread(path)
        assert _held(orthanc, made) == made
