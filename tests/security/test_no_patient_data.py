"""A patient with a marked name goes through the whole node, and everything that it wrote is searched for the mark."""

from __future__ import annotations

import copy
import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from pynetdicom import AE

from dicom_node.database import Database, now
from dicom_node.demo.modality import send_study
from dicom_node.demo.node import Node
from dicom_node.demo.processes import free_port
from dicom_node.domain import Role
from dicom_node.logs import QuietFormatter
from dicom_node.tables import UserRow
from tests.inference.bundles import write_bundle
from tests.orthanc.peers import tiny_study, wait_until
from tests.storage_scp import ProgrammableStorage

MARK = "Zzyzxmark"
BIRTH_DATE = "19330303"
PATIENT_ID = "MARKED-ID-4711"
ENDS = ("delivered", "failed", "not applicable")


def _mark(study: list[Dataset]) -> list[Dataset]:
    for image in study:
        image.PatientName = f"{MARK}^Alice"
        image.PatientID, image.PatientBirthDate = PATIENT_ID, BIRTH_DATE
        image.OtherPatientIDs = f"{MARK}-2"
        image.ReferringPhysicianName = image.OperatorsName = f"{MARK}^Doctor"
        image.PatientComments = image.PatientAddress = f"{MARK} street"
        image.AccessionNumber = "A1"
    return study


def _unreadable(study: list[Dataset]) -> list[Dataset]:
    """Numbers that are none: libraries quote such values in their errors."""
    for image in study:
        for tag in (0x00200032, 0x00280030, 0x00180050):  # position, pixel spacing, slice thickness
            value = f"{MARK} ".encode()
            image[tag] = RawDataElement(Tag(tag), "DS", len(value), value, 0, False, True)
    return study


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("phi")
    write_bundle(folder / "models" / "tiny")
    archive = ProgrammableStorage(free_port()).start()
    settings = {"node": {"models_folder": str(folder / "models"), "log_level": "DEBUG"}}
    with Node(folder / "node", ("ARCHIVE", archive.port), quiet_seconds=0.3, settings=settings) as running:
        yield running
    archive.stop()


def _send_refused(node: Node) -> list[int]:
    """Objects that are refused: another class than was said, no UID but a name, an association that breaks off."""
    entity = AE("MODALITY")
    image = _mark(tiny_study(1))[0]
    entity.add_requested_context(image.SOPClassUID, image.file_meta.TransferSyntaxUID)
    statuses = []
    for changes in (
        {"SOPInstanceUID": f"{MARK}^Alice"},
        {"StudyInstanceUID": f"../../{MARK}"},
        {"SeriesInstanceUID": ""},
    ):
        broken = copy.deepcopy(image)
        for keyword, value in changes.items():
            setattr(broken, keyword, value)
        association = entity.associate("127.0.0.1", node.dicom_port, ae_title=node.ae_title)
        answer = association.send_c_store(broken)
        statuses.append(int(answer.Status) if "Status" in answer else -1)
        association.abort()
    return statuses


def test_nothing_that_the_node_writes_or_says_to_strangers_names_the_patient(node: Node) -> None:
    whole, unreadable = _mark(tiny_study(4)), _unreadable(_mark(tiny_study(4)))
    for study in (whole, unreadable):
        send_study(study, to_ae_title=node.ae_title, port=node.dicom_port)
    statuses = _send_refused(node)
    uids = [str(study[0].StudyInstanceUID) for study in (whole, unreadable)]
    wait_until(
        lambda: all(node.state(uid).startswith(ENDS) for uid in uids),
        lambda: str([node.state(uid) for uid in uids]),
        seconds=120.0,
    )
    viewer = {"Authorization": f"Bearer {node.add_key(Role.VIEWER)}"}
    paths = ["/", "/peers", "/login", "/healthz", "/readyz", "/nothing", "/api/studies", "/api/refusals", "/api/x"]
    paths += [f"{base}/{uid}" for base in ("/studies", "/api/studies") for uid in [*uids, "9.9", f"{MARK[:3]}"]]
    pages = [
        httpx.get(f"{node.url}{path}", headers=headers, timeout=20.0).text for path in paths for headers in (viewer, {})
    ]
    pages += [httpx.get(f"{node.url}/api/studies", headers=node.headers).text]  # the list shows no patient to anybody

    assert 0 not in statuses
    assert node.state(uids[0]).startswith("delivered")
    assert not node.state(uids[1]).startswith("delivered")
    assert MARK in httpx.get(f"{node.url}/studies/{uids[0]}", headers=node.headers).text  # operators see the patient
    for page in pages:
        assert all(mark not in page for mark in (MARK, PATIENT_ID, BIRTH_DATE))
    _search(node.folder)
    audited = "".join(path.read_text() for path in (node.folder / "data" / "audit").iterdir())
    assert PATIENT_ID in audited  # whose data were seen: what an audit trail is for
    assert "DICOM Instances Transferred" in audited
    assert MARK not in audited


def _search(folder: Path) -> None:
    """Hold names of files and contents to the marks; objects and databases hold patients by their nature."""
    logged = (folder / "node.log").read_text()
    assert "refused" in logged
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        assert MARK not in name
        assert PATIENT_ID not in name
        holds_patients = path.suffix == ".dcm" or ".sqlite" in path.name
        if path.is_file() and not holds_patients:
            content = path.read_bytes()
            assert MARK.encode() not in content, name
            assert BIRTH_DATE.encode() not in content, name
            assert PATIENT_ID.encode() not in content or "audit" in name, name


def test_error_that_quotes_a_value_is_logged_without_it() -> None:
    try:
        try:
            raise ValueError(f"could not convert {MARK}")
        except ValueError as error:
            raise OSError("No space left on device") from error
    except OSError:
        record = logging.LogRecord("node", logging.ERROR, __file__, 1, "it failed", None, sys.exc_info())

    text = QuietFormatter("%(message)s").format(record)

    assert MARK not in text.replace(f'raise ValueError(f"could not convert {{{"MARK"}}}")', "")
    assert "No space left on device" in text
    assert "ValueError (its text is left out" in text
    assert "test_no_patient_data.py" in text


def test_statement_that_fails_is_told_without_its_values(database: Database) -> None:
    with pytest.raises(sa.exc.DBAPIError) as caught, database.session.begin() as session:
        session.add_all(
            [UserRow(name=MARK, role=Role.VIEWER, password_hash="", created_at=now()) for _ in range(2)]  # twice
        )

    assert MARK not in str(caught.value)
