"""What the archive needs to know of a received file, read without its pixels, and whether the file is whole."""

from __future__ import annotations

import os
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from pydicom import Dataset, dcmread, uid
from pydicom.datadict import tag_for_keyword

from dicom_node.archive.wholeness import DataSetWalker, FileBytes, InflatedBytes, Truncated
from dicom_node.domain import MANUFACTURER
from dicom_node.origin import made_by_a_node
from dicom_node.part10 import BROKEN
from dicom_node.receive.contexts import ANALYSABLE_SOP_CLASSES
from dicom_node.receive.refusal import Reason, Refused

_LARGEST_INFLATED = 1 << 33
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_VRS_OF_A_UID, _VRS_OF_A_CODE = (b"UI", b"UN", b""), (b"CS", b"UN", b"")
_UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_META_START = 128 + 4  # preamble and prefix (PS3.10 7.1)
_META_GROUP_LENGTH = struct.Struct("<HH2sHL")
_LARGEST_META = 1 << 16
_ESCAPE = 0x1B

_TAGS = {
    keyword: int(tag_for_keyword(keyword) or 0)
    for keyword in (
        *_UIDS,
        "StudyDate",
        "AccessionNumber",
        "Modality",
        "Manufacturer",
        "StudyDescription",
        "SeriesDescription",
        "ContributingEquipmentSequence",
        "PatientName",
        "PatientID",
        "BodyPartExamined",
        "SeriesNumber",
    )
}
_CHARACTER_SET = 0x00080005
_WANTED = frozenset({*_TAGS.values(), _CHARACTER_SET})
_META_TAGS = (0x00020002, 0x00020003, 0x00020010)


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


def read_header(path: Path, largest_inflated: int = _LARGEST_INFLATED) -> InstanceHeader:
    """Read the header of a Part 10 file and make sure that its data set is whole, in one pass over its elements.

    Deflated data sets are inflated piece by piece, to at most ``largest_inflated`` bytes.

    Raises:
        Refused: the data set cannot be parsed or ends early (0xC000), lacks its UIDs (0xC000), or is of another
            SOP class or instance than the file meta information, and so the C-STORE request, says (0xA900).
    """
    try:
        with path.open("rb", buffering=0) as file:
            meta, start = _read_meta(file.fileno())
            walker = _walk(file.fileno(), start, meta[2], largest_inflated)
        header = _header(path, meta, walker)
    except Truncated as error:
        raise Refused(Reason.DAMAGED, str(error)) from error
    except OSError as error:
        raise Refused(Reason.STORE_FAILED, f"file cannot be read: {error.strerror}") from error
    except BROKEN as error:
        raise Refused(Reason.DAMAGED, f"data set cannot be parsed ({type(error).__name__})") from error
    if header.sop_class_uid in ANALYSABLE_SOP_CLASSES and not walker.has_pixel_data:
        raise Refused(Reason.DAMAGED, "an image without pixel data, or truncated before it")
    return header


def _read_meta(descriptor: int) -> tuple[tuple[str, str, str], int]:
    """SOP Class, SOP Instance and Transfer Syntax UID of the file meta information, and where the data set starts."""
    start = os.pread(descriptor, _META_START + _META_GROUP_LENGTH.size, 0)
    if start[128:132] != b"DICM" or len(start) < _META_START + _META_GROUP_LENGTH.size:
        raise Refused(Reason.DAMAGED, "it is no DICOM Part 10 file")
    *_, length = _META_GROUP_LENGTH.unpack_from(start, _META_START)
    if length > _LARGEST_META:
        raise Refused(Reason.DAMAGED, "its file meta information is broken")
    elements = FileBytes(descriptor, _META_START + _META_GROUP_LENGTH.size)
    walker = DataSetWalker(elements, implicit=False, little_endian=True, wanted=_META_TAGS)
    walker.walk(end=length)
    sop_class, sop_instance, syntax = ((walker.values[tag] or b"").decode("ascii").strip("\0 ") for tag in _META_TAGS)
    return (sop_class, sop_instance, syntax), _META_START + _META_GROUP_LENGTH.size + length


def _walk(descriptor: int, start: int, syntax: str, largest_inflated: int) -> DataSetWalker:
    data = (
        InflatedBytes(descriptor, start, largest_inflated)
        if syntax == uid.DeflatedExplicitVRLittleEndian
        else FileBytes(descriptor, start)
    )
    implicit = syntax == uid.ImplicitVRLittleEndian
    # Some senders encode other than they negotiated; pydicom, which reads the file later, tells by the first VR too.
    vr = data.read(4, 2)
    if len(vr) == 2:
        implicit = not all(0x40 < byte < 0x5B for byte in vr)
    little_endian = syntax != uid.ExplicitVRBigEndian
    walker = DataSetWalker(data, implicit=implicit, little_endian=little_endian, wanted=_WANTED)
    walker.walk()
    return walker


def _header(path: Path, meta: tuple[str, str, str], walker: DataSetWalker) -> InstanceHeader:
    if walker.vrs.get(_CHARACTER_SET, b"") not in _VRS_OF_A_CODE or b"\0" in _padded(walker, _CHARACTER_SET):
        raise Refused(Reason.DAMAGED, "Specific Character Set is broken")
    values, ours = _values(path, walker)
    for keyword in _UIDS:
        tag = _TAGS[keyword]
        # A NUL ends a UID (PS3.5 9.1): taken out of the middle, it would leave another object's UID.
        is_uid = walker.vrs.get(tag) in _VRS_OF_A_UID and b"\0" not in _padded(walker, tag)
        if not is_uid or not _UID.fullmatch(values[keyword]) or len(values[keyword]) > 64:
            raise Refused(Reason.DAMAGED, f"{keyword} is missing or not a UID")
    sop_class, sop_instance, syntax = meta
    if values["SOPClassUID"] != sop_class:
        raise Refused(Reason.DOES_NOT_MATCH, f"sent as SOP class {sop_class}, data set says otherwise")
    if values["SOPInstanceUID"] != sop_instance:
        raise Refused(Reason.DOES_NOT_MATCH, "SOP Instance UID of request and data set differ")
    return InstanceHeader(
        study_instance_uid=values["StudyInstanceUID"],
        series_instance_uid=values["SeriesInstanceUID"],
        sop_instance_uid=values["SOPInstanceUID"],
        sop_class_uid=values["SOPClassUID"],
        transfer_syntax_uid=syntax,
        modality=values["Modality"],
        analysable=values["SOPClassUID"] in ANALYSABLE_SOP_CLASSES and not ours,
        patient_name=values["PatientName"],
        patient_id=values["PatientID"],
        accession_number=values["AccessionNumber"],
        study_date=values["StudyDate"][:8],
        study_description=values["StudyDescription"],
        series_description=values["SeriesDescription"],
        series_number=_number(values["SeriesNumber"]),
        body_part_examined=values["BodyPartExamined"],
    )


def _padded(walker: DataSetWalker, tag: int) -> bytes:
    """An element's value without its padding."""
    return (walker.values.get(tag) or b"").rstrip(b"\0 ")


def _values(path: Path, walker: DataSetWalker) -> tuple[dict[str, str], bool]:
    """The wanted attributes as text, and whether a node had a part in making the object.

    Plain ASCII is the same in every character set that DICOM knows. Anything else, and whatever may name a node, is
    left to pydicom, which takes some milliseconds.
    """
    raw = {keyword: walker.values.get(tag, b"") for keyword, tag in _TAGS.items()}
    if all(value is not None and value.isascii() and _ESCAPE not in value for value in raw.values()) and not any(
        MANUFACTURER.encode() in (raw[keyword] or b"") for keyword in ("Manufacturer", "ContributingEquipmentSequence")
    ):
        return {keyword: _clean((value or b"").decode("ascii")) for keyword, value in raw.items()}, False
    dataset = dcmread(path, stop_before_pixels=True, specific_tags=["SpecificCharacterSet", *_TAGS])
    return {keyword: _text(dataset, keyword) for keyword in _TAGS}, made_by_a_node(dataset)


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword) if keyword != "ContributingEquipmentSequence" else None
    return "" if value is None else _clean(str(value))


def _clean(text: str) -> str:
    # PostgreSQL takes no NUL in text, and padding often is one.
    return text.replace("\x00", "").strip()


def _number(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if abs(number) < 1 << 31 else None
