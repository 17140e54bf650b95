"""What the archive needs to know of a received file, read without its pixels, and whether the file is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pydicom
from pydicom import uid
from pydicom.dataset import FileDataset

from dicom_node.archive.wholeness import DataSetWalker, Truncated
from dicom_node.origin import made_by_a_node
from dicom_node.part10 import BROKEN
from dicom_node.receive.contexts import ANALYSABLE_SOP_CLASSES
from dicom_node.receive.refusal import Refused, StoreStatus

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_META_OFFSET = 128 + 4 + 12  # preamble, prefix, and the group length element itself (PS3.10 7.1)

_TAGS = [
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
    "AccessionNumber",
    "Modality",
    "Manufacturer",
    "ContributingEquipmentSequence",
    "StudyDescription",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "BodyPartExamined",
    "SeriesNumber",
]


@dataclass(frozen=True, slots=True)
class InstanceHeader:
    """The identifying attributes of one instance."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    analysable: bool
    patient_name: str
    patient_id: str
    accession_number: str
    study_date: str
    study_description: str
    series_description: str
    series_number: int | None
    body_part_examined: str


def read_header(path: Path) -> InstanceHeader:
    """Read the header of a Part 10 file and make sure that its data set is whole.

    Raises:
        Refused: the data set cannot be parsed or ends early (0xC000), lacks its UIDs (0xC000), or is of another
            SOP class or instance than the file meta information, and so the C-STORE request, says (0xA900).
    """
    try:
        with path.open("rb") as file:
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=list(_TAGS))
            header = _header(dataset)
            if dataset.file_meta.TransferSyntaxUID != uid.DeflatedExplicitVRLittleEndian:
                _check_whole(file, dataset, path.stat().st_size)
    except Truncated as error:
        raise Refused(StoreStatus.CANNOT_UNDERSTAND, str(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise Refused(StoreStatus.OUT_OF_RESOURCES, f"file cannot be read: {error.strerror}") from error
        raise Refused(StoreStatus.CANNOT_UNDERSTAND, "data set ends inside an element") from error
    except BROKEN as error:
        raise Refused(StoreStatus.CANNOT_UNDERSTAND, f"data set cannot be parsed ({type(error).__name__})") from error
    return header


def _header(dataset: FileDataset) -> InstanceHeader:
    uids = {}
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"):
        value = str(dataset.get(keyword) or "")
        if len(value) > 64 or not _UID.fullmatch(value):
            raise Refused(StoreStatus.CANNOT_UNDERSTAND, f"{keyword} is missing or not a UID")
        uids[keyword] = value
    meta = dataset.file_meta
    if uids["SOPClassUID"] != meta.MediaStorageSOPClassUID:
        raise Refused(
            StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS,
            f"sent as SOP class {meta.MediaStorageSOPClassUID}, data set says otherwise",
        )
    if uids["SOPInstanceUID"] != meta.MediaStorageSOPInstanceUID:
        raise Refused(StoreStatus.DATA_SET_DOES_NOT_MATCH_SOP_CLASS, "SOP Instance UID of request and data set differ")
    number = dataset.get("SeriesNumber")
    return InstanceHeader(
        study_instance_uid=uids["StudyInstanceUID"],
        series_instance_uid=uids["SeriesInstanceUID"],
        sop_instance_uid=uids["SOPInstanceUID"],
        sop_class_uid=uids["SOPClassUID"],
        transfer_syntax_uid=str(meta.TransferSyntaxUID),
        modality=_text(dataset, "Modality"),
        analysable=uids["SOPClassUID"] in ANALYSABLE_SOP_CLASSES and not made_by_a_node(dataset),
        patient_name=_text(dataset, "PatientName"),
        patient_id=_text(dataset, "PatientID"),
        accession_number=_text(dataset, "AccessionNumber"),
        study_date=_text(dataset, "StudyDate")[:8],
        study_description=_text(dataset, "StudyDescription"),
        series_description=_text(dataset, "SeriesDescription"),
        series_number=int(number) if number is not None else None,
        body_part_examined=_text(dataset, "BodyPartExamined"),
    )


def _text(dataset: FileDataset, keyword: str) -> str:
    value = dataset.get(keyword)
    # PostgreSQL takes no NUL in text, and padding often is one.
    return "" if value is None else str(value).replace("\x00", "").strip()


def _check_whole(file: BinaryIO, dataset: FileDataset, size: int) -> None:
    """Follow the elements from Pixel Data to the end; where there is none, from the start of the data set."""
    implicit, little_endian = dataset.original_encoding
    if file.tell() >= size:
        if dataset.SOPClassUID in ANALYSABLE_SOP_CLASSES:
            raise Refused(StoreStatus.CANNOT_UNDERSTAND, "an image without pixel data, or truncated before it")
        file.seek(_META_OFFSET + dataset.file_meta.FileMetaInformationGroupLength)
    DataSetWalker(file, size, implicit=bool(implicit), little_endian=bool(little_endian)).walk()
