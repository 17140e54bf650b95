"""What the archive keeps, refuses and indexes."""

from __future__ import annotations

import threading
from pathlib import Path

import pydicom
import pytest
import sqlalchemy as sa
from pydicom import uid
from pydicom.data import get_testdata_file

from dicom_node.archive.archive import load_study
from dicom_node.archive.header import read_header
from dicom_node.database import now
from dicom_node.domain import MANUFACTURER, Association, StudyState
from dicom_node.receive.refusal import Refused, StoreStatus
from dicom_node.tables import InstanceRow, StudyRow

from .conftest import ArchiveUnderTest, FileMaker

CALLER = Association("MODALITY", "DICOMNODE", "127.0.0.1")


def _equipment(manufacturer: str) -> pydicom.Dataset:
    item = pydicom.Dataset()
    item.Manufacturer = manufacturer
    return item


def test_an_accepted_instance_lies_under_its_uids_with_its_bytes_unchanged(
    held: ArchiveUnderTest, make_file: FileMaker
) -> None:
    path = make_file()
    sent = path.read_bytes()
    instance_uid = pydicom.dcmread(path).SOPInstanceUID

    held.archive.accept(path, CALLER)

    kept = held.store.folder / "1.2.3" / "1.2.3.4" / f"{instance_uid}.dcm"
    assert kept.read_bytes() == sent
    assert not path.exists()


def test_an_accepted_instance_is_indexed_under_its_study(held: ArchiveUnderTest, make_file: FileMaker) -> None:
    held.archive.accept(make_file(), CALLER)
    held.archive.accept(make_file(SeriesInstanceUID="1.2.3.5"), CALLER)

    with held.database.reading() as session:
        study = session.get_one(StudyRow, "1.2.3")
        loaded = load_study(session, "1.2.3", held.store.folder)
    assert study.state is StudyState.RECEIVING
    assert study.calling_ae_title == "MODALITY"
    assert [series.series_instance_uid for series in loaded.series] == ["1.2.3.4", "1.2.3.5"]
    assert all(instance.path.is_file() for instance in loaded.instances)


def test_an_instance_sent_again_asks_nothing_new(held: ArchiveUnderTest, make_file: FileMaker) -> None:
    held.archive.accept(make_file(SOPInstanceUID="1.2.9"), CALLER)
    with held.database.session.begin() as session:
        session.get_one(StudyRow, "1.2.3").state = StudyState.DELIVERED

    held.archive.accept(make_file(SOPInstanceUID="1.2.9", PatientName="Corrected^Jane"), CALLER)

    with held.database.reading() as session:
        assert session.get_one(StudyRow, "1.2.3").state is StudyState.DELIVERED
        row = session.scalars(sa.select(InstanceRow)).one()
    assert pydicom.dcmread(held.store.folder / row.path).PatientName == "Corrected^Jane"


def test_a_late_image_makes_an_ended_study_wait_again(held: ArchiveUnderTest, make_file: FileMaker) -> None:
    held.archive.accept(make_file(), CALLER)
    with held.database.session.begin() as session:
        study = session.get_one(StudyRow, "1.2.3")
        study.state, study.released_at = StudyState.DELIVERED, now()

    held.archive.accept(make_file(), CALLER)

    with held.database.reading() as session:
        study = session.get_one(StudyRow, "1.2.3")
    assert study.state is StudyState.RECEIVING
    assert study.released_at is None
    assert study.waiting_since == study.last_received_at


@pytest.mark.parametrize(
    "attributes",
    [
        {"SOPClassUID": uid.ComprehensiveSRStorage, "Modality": "SR"},
        {"Manufacturer": MANUFACTURER},
        {"Manufacturer": "A router", "ContributingEquipmentSequence": [_equipment(MANUFACTURER)]},
    ],
    ids=["a report", "an object of ours", "an object of ours that a router has changed"],
)
def test_what_is_never_analysed_leaves_an_ended_study_alone(
    held: ArchiveUnderTest, make_file: FileMaker, attributes: dict[str, object]
) -> None:
    held.archive.accept(make_file(), CALLER)
    with held.database.session.begin() as session:
        session.get_one(StudyRow, "1.2.3").state = StudyState.DELIVERED

    held.archive.accept(make_file(SeriesInstanceUID="1.2.3.9", **attributes), CALLER)

    with held.database.reading() as session:
        assert session.get_one(StudyRow, "1.2.3").state is StudyState.DELIVERED
        assert session.scalar(sa.select(sa.func.count()).select_from(InstanceRow)) == 2


@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian]
)
def test_a_truncated_image_is_refused_as_not_understood(make_file: FileMaker, syntax: uid.UID) -> None:
    path = make_file(syntax)
    whole = path.read_bytes()
    read_header(path)

    for missing in (3, 100, len(whole) // 3):  # one byte may be padding
        path.write_bytes(whole[:-missing])
        with pytest.raises(Refused) as caught:
            read_header(path)
        assert caught.value.status is StoreStatus.CANNOT_UNDERSTAND


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_RLE.dcm", "test-SR.dcm", "JPGExtended.dcm"])
def test_every_cut_of_a_real_file_is_refused(tmp_path: Path, name: str) -> None:
    whole = Path(get_testdata_file(name)).read_bytes()
    path = tmp_path / "cut.dcm"
    path.write_bytes(whole)
    read_header(path)

    for length in range(200, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:length])
        with pytest.raises(Refused):
            read_header(path)


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "note.txt"
    path.write_text("not DICOM" * 100)

    with pytest.raises(Refused) as caught:
        read_header(path)

    assert caught.value.status is StoreStatus.CANNOT_UNDERSTAND


def test_another_sop_class_than_the_request_says_is_refused(make_file: FileMaker) -> None:
    path = make_file()
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = uid.MRImageStorage
    dataset.save_as(path)

    with pytest.raises(Refused) as caught:
        read_header(path)

    assert caught.value.status is StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS


@pytest.mark.parametrize("bad", ["../../etc", "..", "1..2", "", "1.2/3", "1." + "2" * 70])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_uid_that_is_none_cannot_become_a_path(make_file: FileMaker, bad: str) -> None:
    path = make_file(StudyInstanceUID=bad)

    with pytest.raises(Refused, match="StudyInstanceUID"):
        read_header(path)


def test_an_instance_held_in_another_series_is_refused_and_the_held_file_stays(
    held: ArchiveUnderTest, make_file: FileMaker
) -> None:
    held.archive.accept(make_file(SOPInstanceUID="1.2.9"), CALLER)

    with pytest.raises(Refused, match="already held in another series"):
        held.archive.accept(make_file(SOPInstanceUID="1.2.9", SeriesInstanceUID="1.2.3.7"), CALLER)
    with pytest.raises(Refused, match="already held in another study"):
        held.archive.accept(make_file(StudyInstanceUID="1.2.4"), CALLER)

    assert [path.name for path in held.store.folder.rglob("*.dcm")] == ["1.2.9.dcm"]


def test_instances_of_many_associations_are_all_indexed(held: ArchiveUnderTest, make_file: FileMaker) -> None:
    paths = [make_file(StudyInstanceUID=f"1.5.{n % 3}", SeriesInstanceUID=f"1.6.{n % 3}") for n in range(60)]

    def accept(share: list[Path]) -> None:
        for path in share:
            held.archive.accept(path, CALLER)

    threads = [threading.Thread(target=accept, args=(paths[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with held.database.reading() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(InstanceRow)) == 60
        assert session.scalar(sa.select(sa.func.count()).select_from(StudyRow)) == 3


def test_an_unwritable_store_is_out_of_resources(held: ArchiveUnderTest, make_file: FileMaker) -> None:
    path = make_file()
    (held.store.folder / "1.2.3").write_text("a file where the study's folder should be")

    with pytest.raises(Refused) as caught:
        held.archive.accept(path, CALLER)

    assert caught.value.status is StoreStatus.OUT_OF_RESOURCES


def test_start_up_sweeps_what_broken_associations_left(held: ArchiveUnderTest, make_file: FileMaker) -> None:
    make_file()

    assert held.store.sweep(older_than_seconds=60) == 0
    assert held.store.sweep() == 1
    assert not list(held.incoming.iterdir())
