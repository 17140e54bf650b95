"""An archive in a temporary folder, and Part 10 files as a receiver leaves them."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, FileMetaDataset, dcmwrite, uid
from pydicom.uid import generate_uid

from dicom_node.archive.archive import Archive
from dicom_node.archive.index import InstanceIndex
from dicom_node.archive.store import InstanceStore
from dicom_node.database import Database

FileMaker = Callable[..., Path]


@dataclass
class ArchiveUnderTest:
    archive: Archive
    store: InstanceStore
    index: InstanceIndex
    database: Database
    incoming: Path


@pytest.fixture
def held(tmp_path: Path, database: Database) -> Iterator[ArchiveUnderTest]:
    store = InstanceStore(tmp_path / "instances", tmp_path / "incoming")
    index = InstanceIndex(database)
    yield ArchiveUnderTest(Archive(store, index), store, index, database, tmp_path / "incoming")
    database.close()


@pytest.fixture
def make_file(tmp_path: Path) -> FileMaker:
    """Writes a small CT instance (or what the keywords make of it) into the incoming folder."""
    numbers = itertools.count()

    def make(syntax: uid.UID = uid.ExplicitVRLittleEndian, **attributes: object) -> Path:
        dataset = Dataset()
        dataset.SOPClassUID = uid.CTImageStorage
        dataset.SOPInstanceUID = generate_uid()
        dataset.StudyInstanceUID = "1.2.3"
        dataset.SeriesInstanceUID = "1.2.3.4"
        dataset.Modality = "CT"
        dataset.PatientName = "Doe^Jane"
        dataset.PatientID = "4711"
        dataset.AccessionNumber = "A1"
        dataset.Rows = dataset.Columns = 16
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit = 15
        dataset.PixelRepresentation = 0
        dataset.SamplesPerPixel = 1
        dataset.PhotometricInterpretation = "MONOCHROME2"
        dataset.PixelData = np.arange(256, dtype="<u2").tobytes()
        for keyword, value in attributes.items():
            if value is None:
                delattr(dataset, keyword)
            else:
                setattr(dataset, keyword, value)
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        path = tmp_path / "incoming" / f"{next(numbers)}.dcm"
        path.parent.mkdir(exist_ok=True)
        dcmwrite(path, dataset, enforce_file_format=True)
        return path

    return make
