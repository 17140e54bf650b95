from __future__ import annotations

from collections.abc import Iterator

import pytest
from pydicom.dataset import Dataset

from dicom_node.demo.archives import StorageArchive
from dicom_node.demo.modality import SendError, send_study
from tests.storage_scp import ProgrammableStorage

OUT_OF_RESOURCES = 0xA700


@pytest.fixture
def archive() -> Iterator[StorageArchive]:
    with StorageArchive() as running:
        yield running


def test_the_archive_keeps_each_object_once_and_tells_studies_apart(
    archive: StorageArchive, phantom_chest_ct: list[Dataset], phantom_radiograph: Dataset
) -> None:
    for _ in range(2):
        send_study(phantom_chest_ct, to_ae_title=archive.ae_title, port=archive.dicom_port)
    send_study([phantom_radiograph], to_ae_title=archive.ae_title, port=archive.dicom_port)

    held = archive.objects(phantom_chest_ct[0].StudyInstanceUID)

    assert {item.SOPInstanceUID for item in held} == {image.SOPInstanceUID for image in phantom_chest_ct}
    assert len(held) == len(phantom_chest_ct)
    assert len(archive.objects(phantom_radiograph.StudyInstanceUID)) == 1


def test_a_study_that_is_not_taken_whole_is_an_error_that_names_the_status(
    storage_scp: ProgrammableStorage, phantom_chest_ct: list[Dataset]
) -> None:
    storage_scp.statuses.extend([0x0000, OUT_OF_RESOURCES])

    with pytest.raises(SendError, match="0xA700"):
        send_study(phantom_chest_ct, to_ae_title=storage_scp.ae_title, port=storage_scp.port)

    assert len(storage_scp.received) == 1


def test_a_port_where_nobody_listens_is_an_error_that_names_it(phantom_radiograph: Dataset, free_port: int) -> None:
    with pytest.raises(SendError, match=str(free_port)):
        send_study([phantom_radiograph], to_ae_title="ARCHIVE", port=free_port)
