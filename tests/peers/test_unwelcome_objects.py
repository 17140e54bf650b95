from __future__ import annotations

import html
import socket
from pathlib import Path

import httpx
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    BasicTextSRStorage,
    EncapsulatedPDFStorage,
    ExplicitVRLittleEndian,
    RTPlanStorage,
    generate_uid,
)
from pynetdicom import AE

from dicom_node.demo import phantoms
from dicom_node.demo.archives import Orthanc
from dicom_node.demo.modality import send_study
from dicom_node.demo.node import Node
from tests.peers.traffic import SentStudy, results_in, store, wait_for_results, wait_until

SUCCESS, CANNOT_UNDERSTAND = 0x0000, 0xC000


@pytest.fixture
def written(tmp_path: Path, phantom_chest_ct: list[Dataset]) -> Path:
    """A CT image on disk."""
    file = tmp_path / "image.dcm"
    phantom_chest_ct[0].save_as(file, enforce_file_format=True)
    return file


def test_a_truncated_file_is_refused_and_shown(node: Node, written: Path) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole[: len(whole) * 2 // 3])

    assert store(node, written) == CANNOT_UNDERSTAND

    assert "truncated" in newest_refusal(node)


def test_a_text_file_sent_as_an_image_is_refused_and_shown(node: Node, written: Path) -> None:
    whole = written.read_bytes()
    start = whole.index(b"\x08\x00\x05\x00CS")
    written.write_bytes(whole[:start] + b"This is a letter, and no image at all.\n" * 40)

    assert store(node, written) == CANNOT_UNDERSTAND

    assert "the data set is truncated" in newest_refusal(node), "its letters are taken for lengths"


def test_text_on_the_dicom_port_is_not_answered_with_anything_but_an_end(node: Node) -> None:
    with socket.create_connection(("127.0.0.1", node.dicom_port), timeout=30) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
        answer = connection.recv(1024)

    # A-ABORT (PS3.8 9.3.8), or the end of the connection.
    assert answer == b"" or answer[0] == 0x07


def test_a_class_that_the_node_does_not_take_gets_no_presentation_context_and_is_shown(node: Node) -> None:
    entity = AE("MODALITY")
    entity.add_requested_context(RTPlanStorage)

    association = entity.associate("127.0.0.1", node.dicom_port, ae_title=node.ae_title)

    assert association.accepted_contexts == []
    association.release()
    assert "RT Plan Storage" in newest_refusal(node)


@pytest.mark.parametrize(
    ("sop_class", "modality"), [(BasicTextSRStorage, "SR"), (EncapsulatedPDFStorage, "DOC")], ids=["report", "document"]
)
def test_what_is_no_image_is_kept_and_its_study_says_why_there_is_no_result(
    sop_class: UID, modality: str, node: Node, orthanc: Orthanc, tmp_path: Path
) -> None:
    file, document = tmp_path / "document.dcm", no_image(sop_class, modality)
    document.save_as(file, enforce_file_format=True)

    assert store(node, file) == SUCCESS

    uid = str(document.StudyInstanceUID)
    wait_until(lambda: node.state(uid).startswith("not applicable"), lambda: node.state(uid))
    assert len(node.state(uid)) > len("not applicable. ")
    sent = SentStudy(uid, frozenset({str(document.SeriesInstanceUID)}), (file,))
    assert results_in(orthanc, sent).objects == ()


def test_the_nodes_own_report_sent_back_starts_nothing(
    node: Node, orthanc: Orthanc, radiograph_by_orthanc: SentStudy
) -> None:
    first = wait_for_results(orthanc, node, radiograph_by_orthanc)
    query = {"Level": "Instance", "Query": {"SOPInstanceUID": str(first.reports[0].SOPInstanceUID)}}
    instance = httpx.post(f"{orthanc.url}/tools/find", json=query).raise_for_status().json()[0]

    sent = httpx.post(f"{orthanc.url}/modalities/node/store", content=instance, timeout=60.0)

    assert sent.is_success, sent.text
    wait_until(
        lambda: (node.study(radiograph_by_orthanc.study_instance_uid) or {})["state"] == "delivered",
        lambda: node.state(radiograph_by_orthanc.study_instance_uid),
    )
    assert wait_for_results(orthanc, node, radiograph_by_orthanc).uids == first.uids


def test_after_all_that_the_node_still_reads_studies(node: Node, orthanc: Orthanc) -> None:
    image = phantoms.chest_radiograph(seed=77, size=512)[0]

    send_study([image], to_ae_title=node.ae_title, port=node.dicom_port)

    sent = SentStudy(str(image.StudyInstanceUID), frozenset({str(image.SeriesInstanceUID)}), ())
    results = wait_for_results(orthanc, node, sent)
    assert (len(results.reports), len(results.captures)) == (1, 1)


def no_image(sop_class: UID, modality: str) -> Dataset:
    """An object without pixels in a study of its own, with what any receiver needs to file it."""
    document = Dataset()
    document.SOPClassUID = sop_class
    document.SOPInstanceUID, document.StudyInstanceUID, document.SeriesInstanceUID = (generate_uid() for _ in range(3))
    document.Modality = modality
    document.PatientID = document.PatientName = "PHANTOM-3"
    document.StudyDate = document.StudyTime = document.AccessionNumber = document.StudyID = ""
    document.SeriesNumber = document.InstanceNumber = 1
    document.file_meta = FileMetaDataset()
    document.file_meta.MediaStorageSOPClassUID = sop_class
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return document


def newest_refusal(node: Node) -> str:
    """The reason of the newest refusal, which the status page shows to people and the API to programs."""
    refusals = httpx.get(f"{node.url}/api/refusals", headers=node.headers).raise_for_status().json()["refusals"]
    reason = str(refusals[0]["reason"])
    assert html.escape(reason) in httpx.get(f"{node.url}/peers", headers=node.headers).raise_for_status().text
    return reason
