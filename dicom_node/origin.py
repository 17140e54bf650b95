"""Where an object comes from: whether a node of this kind, this one or another, made it."""

from __future__ import annotations

from pydicom import Dataset

from dicom_node.domain import MANUFACTURER


def made_by_a_node(dataset: Dataset) -> bool:
    """Say whether a node of this kind made an object, or had a part in making it.

    Both the receiver and the selection of series ask this, so that results which are routed back, from whichever node
    and however a router in between has changed them, neither begin an analysis nor are read in one. It rests on
    Manufacturer (0008,0070), of the object and of its Contributing Equipment Sequence (0018,A001) (PS3.3 C.12.1).
    """
    equipment = dataset.get("ContributingEquipmentSequence") or ()
    parts = [dataset, *(part for part in equipment if isinstance(part, Dataset))]
    return any(str(part.get("Manufacturer") or "").strip(" \0") == MANUFACTURER for part in parts)
