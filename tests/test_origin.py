"""Objects of a node, recognised however they come back."""

from __future__ import annotations

import pytest
from pydicom import Dataset

from dicom_node.domain import MANUFACTURER
from dicom_node.origin import made_by_a_node


def _object(manufacturer: str | None, *contributors: str) -> Dataset:
    dataset = Dataset()
    if manufacturer is not None:
        dataset.Manufacturer = manufacturer
    if contributors:
        dataset.ContributingEquipmentSequence = [_object(contributor) for contributor in contributors]
    return dataset


@pytest.mark.parametrize(
    ("dataset", "ours"),
    [
        (_object(MANUFACTURER), True),
        (_object(f"{MANUFACTURER}\0"), True),
        (_object("Router Ltd", "Archive Ltd", MANUFACTURER), True),
        (_object(None, MANUFACTURER), True),
        (_object("SIEMENS"), False),
        (_object("SIEMENS", "Archive Ltd"), False),
        (_object(None), False),
    ],
    ids=["made here", "padded", "changed on its way", "manufacturer removed", "a scanner's", "archived", "unknown"],
)
def test_an_object_of_a_node_is_known_by_its_equipment(dataset: Dataset, ours: bool) -> None:
    assert made_by_a_node(dataset) is ours
