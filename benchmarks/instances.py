"""The objects that are sent: synthetic CT instances of 512 KiB of pixels, and one large multi-frame object."""

from __future__ import annotations

import struct
from pathlib import Path

from pydicom import dcmread, dcmwrite, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import generate_uid

from dicom_node.demo.phantoms import chest_ct


def write_ct_instances(folder: Path, count: int) -> list[Path]:
    """Write ``count`` CT instances of 512 by 512 16-bit pixels, one series, to ``folder``."""
    folder.mkdir(parents=True)
    slices = chest_ct(slices=4, size=512)
    paths = []
    for number in range(count):
        dataset = slices[number % len(slices)]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        dataset.InstanceNumber = number + 1
        paths.append(folder / f"{number:05}.dcm")
        dcmwrite(paths[-1], dataset, enforce_file_format=True)
    return paths


def write_ct_series(folder: Path, count: int) -> list[Path]:
    """Write one series of ``count`` axial slices of 512 by 512 pixels, 1 mm apart, to ``folder``."""
    paths = write_ct_instances(folder, count)
    for number, path in enumerate(paths):
        dataset = dcmread(path)
        dataset.ImagePositionPatient = [*dataset.ImagePositionPatient[:2], float(number)]
        dcmwrite(path, dataset, enforce_file_format=True)
    return paths


def write_large_object(path: Path, megabytes: int) -> None:
    """Write one multi-frame secondary capture with ``megabytes`` of pixels, without ever holding them in memory."""
    frame_bytes = 1 << 20
    dataset = Dataset()
    dataset.SOPClassUID = uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage
    dataset.SOPInstanceUID, dataset.StudyInstanceUID, dataset.SeriesInstanceUID = (generate_uid() for _ in range(3))
    dataset.Modality, dataset.PatientName, dataset.PatientID = "OT", "Phantom^Large", "PHANTOM-L"
    dataset.Rows = dataset.Columns = 1024
    dataset.NumberOfFrames = megabytes
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dcmwrite(path, dataset, enforce_file_format=True)
    with path.open("ab") as file:
        file.write(struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, megabytes * frame_bytes))
        frame = bytes(range(256)) * (frame_bytes // 256)
        for _ in range(megabytes):
            file.write(frame)
