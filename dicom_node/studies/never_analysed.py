"""What no model ever reads, whatever its rules say: objects of this node, and objects that are not images."""

from __future__ import annotations

import re

from pydicom import Dataset
from pydicom.uid import UID

from dicom_node.origin import made_by_a_node

_NOT_IMAGES = (
    (re.compile(r"KeyObjectSelection"), "key object selections"),
    (re.compile(r"SR(Storage)?$|Report|ProcedureLog|CADSR"), "structured reports"),
    (re.compile(r"Segmentation"), "segmentations"),
    (re.compile(r"PresentationState"), "presentation states"),
    (re.compile(r"ParametricMap"), "parametric maps"),
    (re.compile(r"Encapsulated"), "encapsulated documents"),
    (re.compile(r"^RT|Radiation|Tomotherapeutic"), "radiotherapy objects"),
    (re.compile(r"Waveform|ECG|EEG|Electro"), "waveforms"),
    (re.compile(r"Registration|Fiducials|RealWorldValueMapping|SurfaceScan|Tractography"), "derived measurements"),
)
"""SOP class keywords of PS3.6 by the sort of object they hold."""


def why_never_analysed(dataset: Dataset) -> str | None:
    """Return a sentence where no model may read an object, None where it is an image like any other."""
    if made_by_a_node(dataset):
        return "It was made by a node of this kind, which never analyses its own results."
    keyword = UID(str(dataset.get("SOPClassUID", ""))).keyword
    words = next((words for pattern, words in _NOT_IMAGES if pattern.search(keyword)), None)
    return None if words is None else f"It holds {words}, which are never analysed."
