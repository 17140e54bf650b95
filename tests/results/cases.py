"""Synthetic source headers and readings for the tests of the results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import (
    CTImageStorage,
    DigitalXRayImageStorageForPresentation,
    EnhancedCTImageStorage,
    ExplicitVRLittleEndian,
)

from dicom_node.domain import (
    AnalysisIdentity,
    Evaluation,
    Finding,
    FloatArray,
    ImagePlane,
    ImageStack,
    KeyImage,
    ModelIdentity,
    Reading,
    ResultKind,
)
from dicom_node.inference.region import outline
from dicom_node.manifest import BundleManifest, Code, OperatingPoint
from dicom_node.results.build import build_results
from dicom_node.results.identity import input_digest
from dicom_node.results.options import ResultOptions
from dicom_node.results.request import ResultRequest

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CREATED_AT = datetime(2026, 3, 4, 15, 16, 17, tzinfo=UTC)
SITE = Code(value="64033007", scheme="SCT", meaning="Kidney structure")
LABELS = {
    "tumor": ("Kidney tumor", Code(value="126880001", scheme="SCT", meaning="Neoplasm of kidney")),
    "cyst": ("Kidney cyst", Code(value="722223000", scheme="SCT", meaning="Cyst of kidney")),
    "stone": ("Kidney stone", Code(value="95570007", scheme="SCT", meaning="Kidney stone")),
}
POINT = OperatingPoint(threshold=0.4, recall=0.95, specificity=0.8)


def header(sop_class_uid: str, instance: int, **attributes: Any) -> Dataset:
    """The header of a source instance, without pixels."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = f"1.2.826.0.1.3680043.8.498.1.{instance}"
    dataset.SeriesInstanceUID = "1.2.826.0.1.3680043.8.498.2"
    dataset.StudyInstanceUID = "1.2.826.0.1.3680043.8.498.3"
    dataset.StudyDate, dataset.StudyTime = "20260304", "101112"
    dataset.StudyID, dataset.AccessionNumber = "S1", "A123"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "P1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700102", "F"
    dataset.ReferringPhysicianName = "Who^Doctor"
    dataset.Modality = "CT"
    dataset.Manufacturer = "Scanner maker"
    dataset.InstanceNumber = instance
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def ct(
    slices: int = 6,
    rows: int = 64,
    columns: int = 64,
    spacing: tuple[float, float] = (0.8, 0.8),
    orientation: Sequence[float] = AXIAL,
    **attributes: Any,
) -> tuple[ImageStack, list[Dataset]]:
    """A CT series of a bright disc on dark, ordered along the slice normal, 2 mm apart."""
    across = np.cross(orientation[:3], orientation[3:])
    row, column = np.mgrid[0:rows, 0:columns]
    disc = np.where((row / rows - 0.5) ** 2 + (column / columns - 0.5) ** 2 < 0.16, 50.0, -900.0)
    headers, planes = [], []
    for index in range(slices):
        position = [float(value) for value in np.array([-20.0, -30.0, 40.0]) + 2.0 * index * across]
        headers.append(
            header(
                CTImageStorage,
                index + 1,
                FrameOfReferenceUID="1.2.826.0.1.3680043.8.498.4",
                PositionReferenceIndicator="",
                ImagePositionPatient=position,
                ImageOrientationPatient=list(orientation),
                PixelSpacing=list(spacing),
                SliceThickness=2,
                Rows=rows,
                Columns=columns,
                SamplesPerPixel=1,
                PixelRepresentation=0,
                PhotometricInterpretation="MONOCHROME2",
                RescaleIntercept=-1024,
                RescaleSlope=1,
                **attributes,
            )
        )
        planes.append(
            ImagePlane(
                headers[-1].SOPInstanceUID,
                CTImageStorage,
                rows,
                columns,
                None,
                (position[0], position[1], position[2]),
                tuple(orientation),
                spacing,
                spacing[0] / spacing[1],
            )
        )
    pixels = np.repeat(disc[None].astype(np.float32), slices, axis=0)
    return ImageStack(pixels, tuple(planes), hounsfield=True), headers


def radiograph(**attributes: Any) -> tuple[ImageStack, list[Dataset]]:
    """A radiograph that is a ramp."""
    source = header(
        DigitalXRayImageStorageForPresentation,
        1,
        **(
            {
                "Modality": "DX",
                "PatientOrientation": ["L", "F"],
                "PixelSpacing": [0.2, 0.2],
                "Rows": 80,
                "Columns": 60,
                "SamplesPerPixel": 1,
                "PixelRepresentation": 0,
                "PhotometricInterpretation": "MONOCHROME2",
            }
            | attributes
        ),
    )
    plane = ImagePlane(source.SOPInstanceUID, DigitalXRayImageStorageForPresentation, 80, 60, pixel_spacing=(0.2, 0.2))
    return ImageStack(np.tile(np.linspace(0, 1, 60, dtype=np.float32), (1, 80, 1)), (plane,)), [source]


def heat(rows: int, columns: int, row: float, column: float, spread: float = 5.0) -> FloatArray:
    """A heat map that peaks with 1 at the pixel (row, column)."""
    rows_, columns_ = np.mgrid[0:rows, 0:columns]
    return np.exp(-((rows_ - row) ** 2 + (columns_ - column) ** 2) / (2 * spread**2)).astype(np.float32)


def finding(stack: ImageStack, name: str = "tumor", probability: float = 0.93, **changes: Any) -> Finding:
    """A finding, by default with one key image; present ones have heat and a region on each.

    ``key_indices`` are the key images, ``heat_maps`` theirs, in the same order.
    """
    label, code = LABELS[name]
    present = probability >= POINT.threshold
    indices = changes.pop("key_indices", (len(stack.planes) // 2,))
    plane, key = stack.planes[indices[0]], indices[0]
    usual = heat(plane.rows, plane.columns, 0.4 * plane.rows, 0.3 * plane.columns)
    heat_maps = changes.pop("heat_maps", [usual if present else None] * len(indices))
    values: dict[str, Any] = {
        "number": list(LABELS).index(name) + 1,
        "name": name,
        "label": label,
        "code": code,
        "site": SITE,
        "probability": probability,
        "operating_point_name": "screening",
        "operating_point": POINT,
        "evaluation": Evaluation.PRESENT if present else Evaluation.ABSENT,
        "key_images": tuple(
            KeyImage(index, heat_map, None if heat_map is None else outline(heat_map, 0.5))
            for index, heat_map in zip(indices, heat_maps, strict=True)
        ),
        "image_probabilities": tuple(probability * 0.8 ** abs(index - key) for index in range(len(stack.planes))),
        "laterality": "right" if present else None,
    }
    return Finding(**(values | changes))


def reading(*findings: Finding, title: str = "Kidney CT", **changes: Any) -> Reading:
    manifest = BundleManifest.model_validate(
        {
            "title": title,
            "kind": "ct",
            "selection": {"sop_classes": ["CTImageStorage"]},
            "input": {"window": {"center": 40, "width": 400}},
            "classes": ["normal", *LABELS],
            "findings": [
                {
                    "name": name,
                    "label": label,
                    "classes": [name],
                    "code": code.model_dump(),
                    "site": SITE.model_dump(),
                    "operating_point": "screening",
                    "operating_points": {"screening": POINT.model_dump()},
                }
                for name, (label, code) in LABELS.items()
            ],
        }
    )
    values: dict[str, Any] = {
        "model": ModelIdentity("kidney_ct", "1.2.3", "ab" * 32),
        "manifest": manifest,
        "series_instance_uid": "1.2.826.0.1.3680043.8.498.2",
        "class_probabilities": {},
        "findings": findings,
    }
    return Reading(**(values | changes))


def analysis(sources: Sequence[Dataset], predecessor_digest: str | None = None) -> AnalysisIdentity:
    digest = input_digest(source.SOPInstanceUID for source in sources)
    return AnalysisIdentity(sources[0].StudyInstanceUID, digest, CREATED_AT, predecessor_digest)


def built(
    stack: ImageStack,
    sources: Sequence[Dataset],
    *findings: Finding,
    kinds: Sequence[str] = ("SR",),
    predecessor_digest: str | None = None,
    **changes: Any,
) -> list[Dataset]:
    """The objects of a reading with ``findings``."""
    options = ResultOptions(kinds=tuple(ResultKind(kind) for kind in kinds))
    made = build_results(analysis(sources, predecessor_digest), reading(*findings, **changes), stack, sources, options)
    return [dataset for _, dataset in made]


def request(stack: ImageStack, sources: Sequence[Dataset], *findings: Finding) -> ResultRequest:
    """What the builders are given."""
    return ResultRequest.of(analysis(sources), reading(*findings), stack, sources, ResultOptions())


def enhanced_ct() -> tuple[ImageStack, list[Dataset]]:
    """The same series as one Enhanced CT object."""
    stack, slices = ct()
    source = header(
        EnhancedCTImageStorage,
        1,
        NumberOfFrames=len(slices),
        FrameOfReferenceUID=slices[0].FrameOfReferenceUID,
        Rows=64,
        Columns=64,
        SharedFunctionalGroupsSequence=[
            _item(
                PlaneOrientationSequence=[_item(ImageOrientationPatient=slices[0].ImageOrientationPatient)],
                PixelMeasuresSequence=[_item(PixelSpacing=slices[0].PixelSpacing, SliceThickness=2)],
            )
        ],
        PerFrameFunctionalGroupsSequence=[
            _item(PlanePositionSequence=[_item(ImagePositionPatient=one.ImagePositionPatient)]) for one in slices
        ],
    )
    planes = tuple(
        replace(plane, sop_instance_uid=source.SOPInstanceUID, sop_class_uid=EnhancedCTImageStorage, frame_number=frame)
        for frame, plane in enumerate(stack.planes, 1)
    )
    return replace(stack, planes=planes), [source]


def _item(**attributes: Any) -> Dataset:
    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item
