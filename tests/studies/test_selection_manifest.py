from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from dicom_node.manifest import Selection


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({"conditions": [{"attribute": "BodyPart", "equals": "CHEST"}]}, "'BodyPart' is not a DICOM keyword"),
        ({"sop_classes": ["CTImage"]}, "neither UIDs nor SOP class keywords"),
        ({"order": ["-slices"]}, "neither DICOM keywords"),
        ({"conditions": [{"attribute": "Modality", "matches": "("}]}, "not a regular expression"),
        ({"conditions": [{"attribute": "Modality", "equals": "CT", "in": ["CT"]}]}, "exactly one of"),
        ({"conditions": [{"equals": "CT"}]}, "needs an attribute"),
    ],
)
def test_rules_that_could_never_work_are_refused(rules: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Selection.model_validate({"sop_classes": ["CTImageStorage"]} | rules)


def test_rules_by_keyword_and_uid_are_accepted() -> None:
    rules = Selection.model_validate(
        {
            "sop_classes": ["CTImageStorage", "1.2.840.10008.5.1.4.1.1.2.1"],
            "conditions": [{"any": [{"attribute": "AnatomicRegionSequence", "matches": "(?i)chest"}]}],
            "order": ["SliceThickness", "-number_of_images"],
        }
    )

    assert rules.order == ("SliceThickness", "-number_of_images")
