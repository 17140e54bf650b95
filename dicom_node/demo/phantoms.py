"""Synthetic DICOM studies of patients who never lived: for the demonstration, the tests and the benchmarks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    generate_uid,
)
from scipy.ndimage import gaussian_filter

from dicom_node.demo import anatomy
from dicom_node.demo.anatomy import Nodule
from dicom_node.demo.radiograph import project
from dicom_node.demo.voxels import Array, VoxelGrid

CT_FIELD_OF_VIEW_MM = 384.0
RADIOGRAPH_FIELD_OF_VIEW_MM = 400.0
NOISE_HU = 14.0


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose study it is; a synthetic patient by default."""

    name: str = "Phantom^Synthetic"
    identifier: str = "PHANTOM-1"
    sex: str = "O"
    birth_date: str = "19600101"
    age: str = "065Y"


def chest_ct(
    patient: Patient = Patient(), *, seed: int = 1, slices: int = 40, size: int = 256, nodule: bool = True
) -> list[Dataset]:
    """A chest CT without contrast medium, apex to liver: ``slices`` axial images of ``size`` squared, head first.

    The same arguments make the same study, UIDs included.
    """
    rng = np.random.default_rng(seed)
    grid = _ct_grid(slices, size, height_mm=264.0)
    anatomy.chest(grid, rng, Nodule() if nodule else None)
    anatomy.table(grid)
    identity = _Identity("chest-ct", patient, seed, (slices, size, nodule))
    return _ct_series(grid, rng, identity, body_part="CHEST", description="Chest 6.6 B40", center=-600, width=1500)


def abdomen_ct(
    patient: Patient = Patient(), *, seed: int = 1, slices: int = 40, size: int = 256, mass: bool = True
) -> list[Dataset]:
    """An upper abdominal CT with contrast medium; with ``mass`` there is a tumour on the left kidney.

    The same arguments make the same study, UIDs included.
    """
    rng = np.random.default_rng(seed)
    grid = _ct_grid(slices, size, height_mm=200.0)
    anatomy.abdomen(grid, rng, 24.0 if mass else None)
    anatomy.table(grid)
    identity = _Identity("abdomen-ct", patient, seed, (slices, size, mass))
    return _ct_series(grid, rng, identity, body_part="ABDOMEN", description="Abdomen 5.0 B30", center=40, width=400)


def chest_radiograph(
    patient: Patient = Patient(), *, seed: int = 1, size: int = 1024, nodule: bool = True
) -> list[Dataset]:
    """A postero-anterior digital chest radiograph for presentation, one image of ``size`` squared.

    The same arguments make the same study, UIDs included.
    """
    rng = np.random.default_rng(seed)
    half, step = RADIOGRAPH_FIELD_OF_VIEW_MM / 2.0, max(1.0, RADIOGRAPH_FIELD_OF_VIEW_MM / size)
    grid = VoxelGrid(_centres(-half, half, step), _centres(-120.0, 120.0, max(2.5, step)), _centres(-half, half, step))
    anatomy.chest(grid, rng, Nodule() if nodule else None)
    pixels = project(grid, rng, size=size)
    identity = _Identity("chest-radiograph", patient, seed, (size, nodule))
    return [_radiograph_image(pixels, identity)]


@dataclass(frozen=True, slots=True)
class _Identity:
    """What the UIDs of a study derive from: everything that changes its content."""

    kind: str
    patient: Patient
    seed: int
    parameters: tuple[int | bool, ...]

    def uid(self, *parts: object) -> UID:
        return generate_uid(entropy_srcs=[repr((self, *parts))])

    def number(self) -> str:
        return str(int.from_bytes(hashlib.sha256(repr(self).encode()).digest()[:4]) % 10**8)


def _centres(low: float, high: float, step: float) -> Array:
    return np.arange(low + step / 2.0, high, step, dtype=np.float32)


def _ct_grid(slices: int, size: int, height_mm: float) -> VoxelGrid:
    half, pixel = CT_FIELD_OF_VIEW_MM / 2.0, CT_FIELD_OF_VIEW_MM / size
    thickness = height_mm / slices
    heights = (np.arange(slices, dtype=np.float32) + 0.5) * np.float32(thickness) - np.float32(height_mm / 2.0)
    return VoxelGrid(_centres(-half, half, pixel), _centres(-half + 30.0, half + 30.0, pixel), heights)


def _study(identity: _Identity, sop_class_uid: UID, instance: int) -> Dataset:
    """The modules that both modalities share: patient, study, equipment, SOP common."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = sop_class_uid
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = identity.uid("instance", instance)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.StudyInstanceUID = identity.uid("study")
    dataset.SeriesInstanceUID = identity.uid("series")
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = "20250102"
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = "101500"
    dataset.AccessionNumber = identity.number()
    dataset.StudyID = "1"
    dataset.ReferringPhysicianName = ""
    dataset.PatientName = identity.patient.name
    dataset.PatientID = identity.patient.identifier
    dataset.PatientBirthDate = identity.patient.birth_date
    dataset.PatientSex = identity.patient.sex
    dataset.PatientAge = identity.patient.age
    dataset.Manufacturer = "Synthetic Imaging"
    dataset.ManufacturerModelName = "Phantom"
    dataset.DeviceSerialNumber = "1"
    dataset.SoftwareVersions = "1"
    dataset.SeriesNumber = 1
    dataset.InstanceNumber = instance
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelRepresentation = 0
    return dataset


def _ct_series(
    grid: VoxelGrid,
    rng: np.random.Generator,
    identity: _Identity,
    *,
    body_part: str,
    description: str,
    center: int,
    width: int,
) -> list[Dataset]:
    noise = gaussian_filter(rng.normal(0.0, 1.0, grid.hounsfield.shape).astype(np.float32), (0.0, 0.7, 0.7))
    hounsfield = grid.hounsfield + noise * np.float32(NOISE_HU / float(noise.std()))
    stored = np.clip(np.rint(hounsfield + 1024.0), 0, 4095).astype(np.uint16)
    images = []
    for number, index in enumerate(reversed(range(grid.z.size)), start=1):
        image = _study(identity, CTImageStorage, number)
        image.Modality = "CT"
        image.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
        image.StudyDescription = f"CT {body_part.title()}"
        image.SeriesDescription = description
        image.BodyPartExamined = body_part
        image.PatientPosition = "HFS"
        image.FrameOfReferenceUID = identity.uid("frame of reference")
        image.PositionReferenceIndicator = ""
        image.AcquisitionNumber = 1
        image.KVP = 120
        image.XRayTubeCurrent = 200
        image.ExposureTime = 500
        image.ConvolutionKernel = description.split()[-1]
        image.GantryDetectorTilt = 0
        image.ReconstructionDiameter = CT_FIELD_OF_VIEW_MM
        image.SliceThickness = f"{grid.z[1] - grid.z[0]:.4f}"
        pixel = f"{grid.x[1] - grid.x[0]:.6f}"
        image.PixelSpacing = [pixel, pixel]
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = [f"{grid.x[0]:.4f}", f"{grid.y[0]:.4f}", f"{grid.z[index]:.4f}"]
        image.SliceLocation = f"{grid.z[index]:.4f}"
        image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = -1024, 1, "HU"
        image.WindowCenter, image.WindowWidth = center, width
        image.Rows, image.Columns = stored[index].shape
        image.PixelData = stored[index].tobytes()
        images.append(image)
    return images


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _radiograph_image(pixels: Array, identity: _Identity) -> Dataset:
    size = pixels.shape[0]
    spacing = f"{RADIOGRAPH_FIELD_OF_VIEW_MM / size:.6f}"
    image = _study(identity, DigitalXRayImageStorageForPresentation, 1)
    image.Modality = "DX"
    image.ImageType = ["ORIGINAL", "PRIMARY"]
    image.PresentationIntentType = "FOR PRESENTATION"
    image.StudyDescription = "Chest PA"
    image.SeriesDescription = "Chest PA"
    image.BodyPartExamined = "CHEST"
    image.AnatomicRegionSequence = Sequence([_code("51185008", "SCT", "Thorax")])
    image.ViewPosition = "PA"
    image.ViewCodeSequence = Sequence([_code("399348003", "SCT", "postero-anterior")])
    image.ViewCodeSequence[0].ViewModifierCodeSequence = Sequence([])
    image.PatientOrientation = ["L", "F"]
    image.ImageLaterality = "U"
    image.PositionerType = "NONE"
    image.DetectorType = "SCINTILLATOR"
    image.ImagerPixelSpacing = [spacing, spacing]
    image.KVP = 120
    image.AcquisitionContextSequence = Sequence([])
    image.BurnedInAnnotation = "NO"
    image.LossyImageCompression = "00"
    image.PixelIntensityRelationship = "LOG"
    image.PixelIntensityRelationshipSign = 1
    image.PresentationLUTShape = "IDENTITY"
    image.RescaleIntercept, image.RescaleSlope, image.RescaleType = 0, 1, "US"
    image.WindowCenter, image.WindowWidth = 2048, 4096
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.Rows, image.Columns = pixels.shape
    image.PixelData = pixels.astype(np.uint16).tobytes()
    return image
