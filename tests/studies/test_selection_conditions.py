from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from dicom_node.manifest import Condition
from dicom_node.studies.conditions import why_not


@pytest.fixture
def header() -> Dataset:
    dataset = Dataset()
    dataset.Modality = "CT"
    dataset.BodyPartExamined = "CHEST"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesDescription = "Thorax 2.0 B31f"
    dataset.SliceThickness = "2.0"
    dataset.PatientAge = "036Y"
    return dataset


def reason(dataset: Dataset, **condition: Any) -> str | None:
    return why_not(Condition.model_validate(condition), dataset)


@pytest.mark.parametrize(
    "condition",
    [
        {"attribute": "BodyPartExamined", "equals": "CHEST"},
        {"attribute": "BodyPartExamined", "equals": "chest"},  # a code string: upper case by the standard
        {"attribute": "ImageType", "equals": "AXIAL"},
        {"attribute": "SliceThickness", "equals": 2},
        {"attribute": "SeriesDescription", "matches": "^Thorax"},
        {"attribute": "BodyPartExamined", "matches": "^chest$"},
        {"attribute": "Modality", "in": ["MR", "CT"]},
        {"attribute": "Modality", "not_in": ["MR", "PT"]},
        {"attribute": "ConvolutionKernel", "not_in": ["B70f"]},
        {"attribute": "SliceThickness", "between": [2, 5]},
        {"attribute": "SliceThickness", "in": [1, 2]},
        {"attribute": "PatientAge", "between": [18, 120]},
        {"attribute": "SliceThickness", "present": True},
        {"attribute": "GantryDetectorTilt", "present": False},
        {"any": [{"attribute": "Modality", "equals": "MR"}, {"attribute": "Modality", "equals": "CT"}]},
        {"all": [{"attribute": "Modality", "equals": "CT"}, {"attribute": "SliceThickness", "between": [0, 3]}]},
        {"none": [{"attribute": "Modality", "equals": "MR"}, {"attribute": "ConvolutionKernel", "present": True}]},
    ],
)
def test_satisfied_conditions(header: Dataset, condition: dict[str, Any]) -> None:
    assert reason(header, **condition) is None


@pytest.mark.parametrize(
    ("condition", "words"),
    [
        (
            {"attribute": "BodyPartExamined", "matches": "(?i)abd|kidney"},
            "BodyPartExamined is CHEST, needs to match (?i)abd|kidney",
        ),
        (
            {"attribute": "SeriesDescription", "matches": "thorax"},
            "SeriesDescription is Thorax 2.0 B31f, needs to match thorax",
        ),
        ({"attribute": "BodyPartExamined", "equals": "ABDOMEN"}, "BodyPartExamined is CHEST, needs to be ABDOMEN"),
        (
            {"attribute": "ImageType", "not_in": ["AXIAL", "LOCALIZER"]},
            "ImageType is ORIGINAL\\PRIMARY\\AXIAL, must not be AXIAL or LOCALIZER",
        ),
        ({"attribute": "Modality", "in": ["CR", "DX", "MG"]}, "Modality is CT, needs to be CR, DX or MG"),
        ({"attribute": "SliceThickness", "between": [3, 5]}, "SliceThickness is 2.0, needs to be between 3 and 5"),
        ({"attribute": "PatientAge", "between": [0, 17.5]}, "PatientAge is 036Y, needs to be between 0 and 17.5 years"),
        ({"attribute": "ViewPosition", "in": ["PA"]}, "ViewPosition is missing, needs to be PA"),
        ({"attribute": "ViewPosition", "matches": "."}, "ViewPosition is missing, needs to match ."),
        ({"attribute": "KVP", "between": [80, 140]}, "KVP is missing, needs to be between 80 and 140"),
        ({"attribute": "KVP", "present": True}, "KVP is missing, needs to be present"),
        ({"attribute": "Modality", "present": False}, "Modality is CT, needs to be absent"),
        ({"attribute": "Modality", "between": [1, 2]}, "Modality is CT, needs to be between 1 and 2"),
        (
            {"any": [{"attribute": "Modality", "equals": "MR"}, {"attribute": "KVP", "equals": 120}]},
            "Modality is CT, needs to be MR, and KVP is missing, needs to be 120",
        ),
        (
            {"all": [{"attribute": "Modality", "equals": "CT"}, {"attribute": "KVP", "equals": 120}]},
            "KVP is missing, needs to be 120",
        ),
        (
            {"none": [{"attribute": "BodyPartExamined", "matches": "CHEST"}]},
            "BodyPartExamined is CHEST, which is ruled out",
        ),
        (
            {
                "none": [
                    {
                        "all": [
                            {"attribute": "Modality", "equals": "CT"},
                            {"attribute": "SliceThickness", "between": [0, 3]},
                        ]
                    }
                ]
            },
            "Modality is CT and SliceThickness is 2.0, which is ruled out",
        ),
    ],
)
def test_failed_conditions_say_what_is_and_what_is_needed(
    header: Dataset, condition: dict[str, Any], words: str
) -> None:
    assert reason(header, **condition) == words


def test_groups_nest(header: Dataset) -> None:
    condition = {
        "all": [
            {"any": [{"attribute": "BodyPartExamined", "equals": "LUNG"}, {"attribute": "Modality", "equals": "CT"}]},
            {"none": [{"any": [{"attribute": "SliceThickness", "between": [5, 99]}]}]},
        ]
    }

    assert reason(header, **condition) is None
    header.SliceThickness = "7.5"
    assert reason(header, **condition) == "SliceThickness is 7.5, which is ruled out"


def test_personal_values_stay_out_of_reasons(header: Dataset) -> None:
    header.PatientName = "Doe^Jane"

    words = reason(header, attribute="PatientName", matches="^PHANTOM")

    assert words == "PatientName is another value, needs to match ^PHANTOM"
