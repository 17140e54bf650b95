"""Small DICOM objects made for these tests."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
    generate_uid,
)

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)


def image(
    sop_class_uid: str,
    stored: npt.NDArray[Any],
    *,
    bits_stored: int | None = None,
    photometric: str = "MONOCHROME2",
    **attributes: Any,
) -> FileDataset:
    """An image of one frame or, where ``stored`` has three dimensions, several."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = stored.shape[-2:]
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.BitsStored = bits_stored or dataset.BitsAllocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    dataset.PixelData = stored.tobytes()
    dataset["PixelData"].VR = "OB" if dataset.BitsAllocated == 8 else "OW"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def radiograph(stored: npt.NDArray[Any], **attributes: Any) -> FileDataset:
    return image(ComputedRadiographyImageStorage, stored, **({"Modality": "CR"} | attributes))


def ct_slice(z: float, stored: npt.NDArray[Any] | None = None, **attributes: Any) -> FileDataset:
    """An axial slice at ``z`` mm whose stored values are, unless given, its height plus 1024."""
    if stored is None:
        stored = np.full((4, 6), round(z) + 1024, dtype=np.uint16)
    defaults: dict[str, Any] = {
        "Modality": "CT",
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "ImageOrientationPatient": list(AXIAL),
        "ImagePositionPatient": [-10.0, -20.0, z],
        "PixelSpacing": [0.5, 0.5],
        "RescaleSlope": 1,
        "RescaleIntercept": -1024,
    }
    return image(CTImageStorage, stored, **(defaults | attributes))


def enhanced_ct(slices: Sequence[Dataset]) -> FileDataset:
    """The same slices as one Enhanced CT object: place in the frames' groups, the rest in the shared ones."""
    stored = np.stack([one.pixel_array for one in slices])
    first = slices[0]
    dataset = image(
        EnhancedCTImageStorage,
        stored,
        bits_stored=first.BitsStored,
        Modality="CT",
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
        NumberOfFrames=len(slices),
    )
    shared = Dataset()
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=first.ImageOrientationPatient)]
    shared.PixelMeasuresSequence = [_item(PixelSpacing=first.PixelSpacing)]
    dataset.SharedFunctionalGroupsSequence = [shared]
    frames = []
    for one in slices:
        groups = Dataset()
        groups.PlanePositionSequence = [_item(ImagePositionPatient=one.ImagePositionPatient)]
        groups.PixelValueTransformationSequence = [
            _item(RescaleSlope=one.RescaleSlope, RescaleIntercept=one.RescaleIntercept, RescaleType="HU")
        ]
        groups.CTImageFrameTypeSequence = [_item(FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"])]
        frames.append(groups)
    dataset.PerFrameFunctionalGroupsSequence = frames
    return dataset


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def saved(folder: Path, *datasets: FileDataset) -> list[Path]:
    """Write data sets as Part 10 files, named by their order."""
    paths = []
    for dataset in datasets:
        path = folder / f"{len(list(folder.iterdir())):03d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
