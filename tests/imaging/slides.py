"""Synthetic whole slides: a pyramid of tiled images of pink tissue with a purple patch on white glass."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, VLWholeSlideMicroscopyImageStorage, generate_uid

ByteArray = npt.NDArray[np.uint8]

GLASS, TISSUE, PATCH = (245, 245, 245), (225, 150, 190), (110, 60, 170)
FRAME_OF_REFERENCE = "1.2.826.0.1.3680043.8.498.77"
ORIGIN_MM = (20.0, 40.0)
ORIENTATION = (0.0, -1.0, 0.0, -1.0, 0.0, 0.0)
"""As scanners have it: rows run towards smaller y, columns towards smaller x."""


def picture(height: int = 768, width: int = 1024, *, patch: bool = True) -> ByteArray:
    """Tissue over the middle, with a purple disc of an eighth of its height at a quarter of the width."""
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.empty((height, width, 3), np.uint8)
    pixels[:] = GLASS
    tissue = ((rows / height - 0.5) / 0.4) ** 2 + ((columns / width - 0.5) / 0.4) ** 2 < 1
    pixels[tissue] = TISSUE
    if patch:
        pixels[(rows - 0.5 * height) ** 2 + (columns - 0.3 * width) ** 2 < (0.125 * height) ** 2] = PATCH
    return pixels


def write_slide(
    folder: Path,
    pixels: ByteArray,
    *,
    microns_per_pixel: float = 1.0,
    factors: tuple[int, ...] = (1, 4),
    tile: int = 128,
    sparse: bool = False,
    parts: int = 1,
    **attributes: Any,
) -> list[Path]:
    """Write one file a level, or ``parts`` of it (a concatenation); sparse ones leave out tiles of bare glass."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, factor in enumerate(factors):
        size = pixels.shape[1] // factor, pixels.shape[0] // factor
        level = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BOX))
        for part, dataset in enumerate(_parts(level, microns_per_pixel * factor, tile, sparse, parts), 1):
            for keyword, value in attributes.items():
                setattr(dataset, keyword, value)
            paths.append(save(dataset, folder / f"level{number}_part{part}.dcm"))
    return paths


def save(dataset: Dataset, path: Path) -> Path:
    """Write a Part 10 file."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def _parts(level: ByteArray, microns: float, tile: int, sparse: bool, count: int) -> list[Dataset]:
    places, frames = _frames(level, tile)
    if sparse:
        kept = [index for index, frame in enumerate(frames) if (frame != GLASS[0]).any()]
        places, frames = [places[index] for index in kept], [frames[index] for index in kept]
    bounds = np.linspace(0, len(frames), count + 1).astype(int)
    source = generate_uid(entropy_srcs=[str(microns), str(level.sum())])
    datasets = []
    for number, (start, stop) in enumerate(pairwise(bounds), 1):
        dataset = _header(level.shape[0], level.shape[1], microns, tile)
        dataset.SOPInstanceUID = f"{source[:55]}.{number}"
        dataset.NumberOfFrames = int(stop - start)
        dataset.PixelData = b"".join(frame.tobytes() for frame in frames[start:stop])
        if sparse:
            dataset.DimensionOrganizationType = "TILED_SPARSE"
            dataset.PerFrameFunctionalGroupsSequence = [_place(*place) for place in places[start:stop]]
        if count > 1:
            dataset.SOPInstanceUIDOfConcatenationSource = source
            dataset.ConcatenationUID = f"{source[:50]}.9.1"
            dataset.ConcatenationFrameOffsetNumber = int(start)
            dataset.InConcatenationNumber, dataset.InConcatenationTotalNumber = number, count
        datasets.append(dataset)
    return datasets


def _frames(level: ByteArray, tile: int) -> tuple[list[tuple[int, int]], list[ByteArray]]:
    rows, columns = -(-level.shape[0] // tile), -(-level.shape[1] // tile)
    padded = np.full((rows * tile, columns * tile, 3), GLASS[0], np.uint8)
    padded[: level.shape[0], : level.shape[1]] = level
    places = [(row * tile, column * tile) for row in range(rows) for column in range(columns)]
    return places, [padded[row : row + tile, column : column + tile] for row, column in places]


def _place(row: int, column: int) -> Dataset:
    group, position = Dataset(), Dataset()
    position.ColumnPositionInTotalImagePixelMatrix = column + 1
    position.RowPositionInTotalImagePixelMatrix = row + 1
    position.XOffsetInSlideCoordinateSystem = position.YOffsetInSlideCoordinateSystem = 0
    position.ZOffsetInSlideCoordinateSystem = 0
    group.PlanePositionSlideSequence = [position]
    return group


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _header(rows: int, columns: int, microns: float, tile: int) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.78"
    dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.79"
    dataset.FrameOfReferenceUID = FRAME_OF_REFERENCE
    dataset.PositionReferenceIndicator = "SLIDE_CORNER"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "P1"
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "20260304", "101112", "S1", "A1"
    dataset.PatientBirthDate = dataset.PatientSex = dataset.ReferringPhysicianName = ""
    dataset.Modality = "SM"
    dataset.SeriesDescription = "Sentinel lymph node, H&E"
    dataset.Manufacturer = "Scanner maker"
    dataset.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "NONE"]
    dataset.InstanceNumber = 1
    dataset.ContainerIdentifier = "C1"
    dataset.SpecimenLabelInImage = "NO"
    dataset.DimensionOrganizationType = "TILED_FULL"
    dataset.TotalPixelMatrixRows, dataset.TotalPixelMatrixColumns = rows, columns
    dataset.TotalPixelMatrixFocalPlanes = dataset.NumberOfOpticalPaths = 1
    dataset.ImagedVolumeWidth, dataset.ImagedVolumeHeight = columns * microns / 1000, rows * microns / 1000
    dataset.ImagedVolumeDepth = 0.001
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem, origin.YOffsetInSlideCoordinateSystem = ORIGIN_MM
    dataset.TotalPixelMatrixOriginSequence = [origin]
    dataset.ImageOrientationSlide = list(ORIENTATION)
    path = Dataset()
    path.OpticalPathIdentifier = "1"
    path.IlluminationTypeCodeSequence = [_code("111744", "DCM", "Brightfield illumination")]
    path.IlluminationColorCodeSequence = [_code("414298005", "SCT", "Full Spectrum")]
    dataset.OpticalPathSequence = [path]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing = [microns / 1000, microns / 1000]
    measures.SliceThickness = 0.001
    shared.PixelMeasuresSequence = [measures]
    dataset.SharedFunctionalGroupsSequence = [shared]
    dataset.Rows = dataset.Columns = tile
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.PixelRepresentation = 7, 0
    return dataset
