"""The attributes that all result objects share: patient and study from the source, equipment and dates of the node."""

from __future__ import annotations

import copy
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from pydicom import Dataset
from pydicom.charset import convert_encodings
from pydicom.config import RAISE
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from pydicom.valuerep import validate_value

from dicom_node import __version__
from dicom_node.domain import IMPLEMENTATION_CLASS_UID, MANUFACTURER, ModelIdentity, ResultKind
from dicom_node.results.identity import ResultIdentity, device_uid
from dicom_node.results.options import ResultOptions

PATIENT_AND_STUDY = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "OtherPatientIDsSequence",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ProcedureCodeSequence",
    "TimezoneOffsetFromUTC",
)
"""What every object copies from the source image: Patient, General Study and Patient Study (PS3.3 C.7.1, C.7.2)."""

_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_SEXES = {"M", "F", "O"}
_UTF_8 = "ISO_IR 192"


def patient_and_study(source: Dataset) -> Dataset:
    """Patient and study of ``source``; what breaks its value representation is left out, or empty where Type 2.

    Archives match on Study Instance UID, and a value that the standard forbids would have the whole object
    refused by a strict one.
    """
    header = Dataset()
    for keyword in _TYPE_2:
        setattr(header, keyword, None)
    for keyword in PATIENT_AND_STUDY:
        if keyword not in source:
            continue
        element = source[keyword]
        if element.is_empty or (element.VR != "SQ" and not _is_valid(element.VR, element.value)):
            continue
        # A copy, since assigning to an attribute changes its element in place, here the source's.
        header.add(copy.deepcopy(element))
    if header.PatientSex not in _SEXES:
        header.PatientSex = None
    return header


def _is_valid(vr: str, value: object) -> bool:
    """Whether a single value obeys its value representation (PS3.5 6.2)."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            validate_value(vr, str(value), RAISE)
    except (ValueError, UserWarning):
        return False
    return True


def character_set(source: Dataset, *texts: str) -> str | list[str] | None:
    """The source's Specific Character Set, or UTF-8 where ours could not be written in it.

    An unknown character set is replaced by UTF-8 as well.
    """
    kept = source.get("SpecificCharacterSet")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            encodings = convert_encodings(kept)
        for text in texts:
            if not any(_encodable(text, encoding) for encoding in encodings):
                return _UTF_8
    except (LookupError, UserWarning):
        return _UTF_8
    if not kept:
        return None
    return kept if isinstance(kept, str) else list(kept)


def _encodable(text: str, encoding: str) -> bool:
    # pydicom names the default repertoire latin-1 to be lenient when reading; when writing it is ASCII (PS3.5 6.1.2.1).
    try:
        text.encode("ascii" if encoding == "iso8859" else encoding)
    except UnicodeEncodeError:
        return False
    return True


def local_time(created_at: datetime, source: Dataset) -> datetime:
    """``created_at`` at the study's own offset from UTC where it states one, since that rules all its times."""
    offset = str(source.get("TimezoneOffsetFromUTC") or "")
    if len(offset) != 5 or offset[0] not in "+-" or not offset[1:].isdigit():
        return created_at
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    return created_at.astimezone(timezone(timedelta(minutes=-minutes if offset[0] == "-" else minutes)))


@dataclass(frozen=True, slots=True, eq=False)
class Provenance:
    """Who made an object, from which study, and how its destination wants it labelled.

    ``title`` is what the model is for, ``result`` what it says, in few words.
    ``texts`` is everything of ours that has to be written in the character set of ``source``.
    """

    source: Dataset
    identity: ResultIdentity
    options: ResultOptions
    title: str
    result: str
    created_at: datetime
    texts: tuple[str, ...]

    @property
    def model_text(self) -> str:
        """Which model, for people: ``chest_xray 1.2.0``."""
        return f"{self.identity.model.name} {self.identity.model.version}"

    @property
    def software_versions(self) -> list[str]:
        """The node's and the model's version, as Software Versions."""
        return [f"{MANUFACTURER} {__version__}", self.model_text[:64]]

    @property
    def date_text(self) -> str:
        """When the analysis was asked for, to the minute, with its offset from UTC."""
        created = local_time(self.created_at, self.source)
        zone = "UTC" if created.utcoffset() == timedelta(0) else f"UTC{created:%z}" if created.tzinfo else ""
        return f"{created:%Y-%m-%d %H:%M} {zone}".strip()


def complete(dataset: Dataset, provenance: Provenance, kind: ResultKind, *, finding_number: int = 0) -> Dataset:
    """Give ``dataset`` its identity, patient, study, series, equipment and dates, and file meta information.

    Whatever a library wrote there before (its own equipment, the time of day) is replaced, so that the same
    request makes the same bytes.
    """
    created = local_time(provenance.created_at, provenance.source)
    _put_patient_and_study(dataset, provenance)
    _put_series(dataset, provenance, kind, finding_number)
    _put_equipment(dataset, provenance.identity.model)
    dataset.SoftwareVersions = provenance.software_versions
    for keyword in ("InstanceCreation", "Series", "Content"):
        setattr(dataset, f"{keyword}Date", f"{created:%Y%m%d}")
        setattr(dataset, f"{keyword}Time", f"{created:%H%M%S}")
    dataset.ContributingEquipmentSequence = [_contributing_equipment(provenance, created)]
    dataset.file_meta = _file_meta(dataset)
    return dataset


def _put_patient_and_study(dataset: Dataset, provenance: Provenance) -> None:
    for keyword in PATIENT_AND_STUDY:
        if keyword in dataset:
            delattr(dataset, keyword)
    dataset.update(patient_and_study(provenance.source))
    dataset.SpecificCharacterSet = character_set(provenance.source, *provenance.texts)
    if dataset.SpecificCharacterSet is None:
        del dataset.SpecificCharacterSet


def _put_series(dataset: Dataset, provenance: Provenance, kind: ResultKind, finding_number: int) -> None:
    identity, model = provenance.identity, provenance.identity.model
    dataset.SOPInstanceUID = identity.sop_instance_uid(kind, finding_number)
    dataset.InstanceNumber = max(finding_number, 1)
    dataset.SeriesInstanceUID = identity.result_series_uid(kind)
    dataset.SeriesNumber = provenance.options.series_number(kind)
    dataset.SeriesDescription = provenance.options.description(
        kind, result=provenance.result, title=provenance.title, model=model.name, version=model.version
    )


def _put_equipment(dataset: Dataset, model: ModelIdentity) -> None:
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = model.name[:64]
    dataset.DeviceSerialNumber = model.weights_digest[:64]
    dataset.DeviceUID = device_uid(model)


def _contributing_equipment(provenance: Provenance, created: datetime) -> Dataset:
    """The algorithm as processing equipment (PS3.3 C.12.1, IHE AI Results)."""
    model = provenance.identity.model
    item, purpose = Dataset(), Dataset()
    purpose.CodeValue, purpose.CodingSchemeDesignator, purpose.CodeMeaning = "109102", "DCM", "Processing Equipment"
    item.PurposeOfReferenceCodeSequence = [purpose]
    _put_equipment(item, model)
    item.SoftwareVersions = provenance.software_versions
    item.ContributionDateTime = f"{created:%Y%m%d%H%M%S}{created:%z}"
    item.ContributionDescription = f"{provenance.title} (weights SHA-256 {model.weights_digest[:16]})"
    return item


def _file_meta(dataset: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = f"DICOM-NODE_{__version__}"[:16]
    return meta
