"""The coded concepts that results are written in, and what is derived from the source's own codes."""

from __future__ import annotations

import hashlib

from highdicom.sr import CodedConcept
from pydicom import Dataset
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from dicom_node import manifest
from dicom_node.domain import Evaluation, Finding

PRIVATE_SCHEME = "99DICOMNODE"
PRIVATE_SCHEME_NAME = "dicom-node findings"

PRESENCE = CodedConcept("705057003", "SCT", "Presence")
PROBABILITY = CodedConcept("PROBABILITY", PRIVATE_SCHEME, "Probability")
PERCENT = CodedConcept("%", "UCUM", "Percent")
PROCESSING_EQUIPMENT = CodedConcept("109102", "DCM", "Processing Equipment")
MODALITY = CodedConcept("121139", "DCM", "Modality")
IMAGE_LIBRARY = CodedConcept("111028", "DCM", "Image Library")
IMAGE_LIBRARY_GROUP = CodedConcept("126200", "DCM", "Image Library Group")
SOURCE = CodedConcept("260753009", "SCT", "Source")

EVALUATIONS = {
    Evaluation.PRESENT: CodedConcept("52101004", "SCT", "Present"),
    Evaluation.ABSENT: CodedConcept("2667000", "SCT", "Absent"),
    Evaluation.INDETERMINATE: CodedConcept("82334004", "SCT", "Indeterminate"),
}
LATERALITIES = {
    "left": CodedConcept("7771000", "SCT", "Left"),
    "right": CodedConcept("24028007", "SCT", "Right"),
}

# TID 1500 takes the procedure from CID 100, which has no radiography in the editions that validators know. The
# study's own code stays in its Procedure Code Sequence.
_PROCEDURES = {"CT": CodedConcept("25045-6", "LN", "CT unspecified body region")}
_ANY_PROCEDURE = CodedConcept("363679005", "SCT", "Imaging procedure")


def concept(code: manifest.Code) -> CodedConcept:
    """A manifest's code as a coded concept; the meaning is cut to the 64 characters of VR LO."""
    return CodedConcept(code.value, code.scheme, code.meaning[:64])


def probability_of(finding: Finding) -> CodedConcept:
    """The name of the number that answers, short: OHIF shows nothing else of the finding, and cuts what is long.

    That the number is a probability is said by its derivation.
    """
    return _private(finding.label, f"P{finding.code.value}")


def threshold_of(finding: Finding) -> CodedConcept:
    """The name of the threshold that the probability is held against: on which side it fell, as short as can be."""
    return _private(
        f"{finding.evaluation.value.capitalize()}, threshold",
        f"{finding.evaluation.value[0].upper()}-{finding.operating_point_name}",
    )


def _private(meaning: str, value: str) -> CodedConcept:
    # Code Value is VR SH, 16 characters: a longer one is replaced by its digest.
    if len(value) > 16:
        value = value[0] + hashlib.sha256(value.encode()).hexdigest()[:15]
    return CodedConcept(value, PRIVATE_SCHEME, meaning[:64])


def procedure_reported(source: Dataset) -> CodedConcept:
    """The procedure of the study: its own code where CID 100 has it, else by modality."""
    for item in source.get("ProcedureCodeSequence") or ():
        code = Code(str(item.get("CodeValue")), str(item.get("CodingSchemeDesignator")), str(item.get("CodeMeaning")))
        if code in codes.cid100:
            return CodedConcept.from_code(code)
    return _PROCEDURES.get(str(source.get("Modality", "")), _ANY_PROCEDURE)
