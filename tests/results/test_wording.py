from __future__ import annotations

import pytest

from dicom_node.domain import Evaluation
from dicom_node.results import wording
from tests.results import cases


@pytest.mark.parametrize(
    ("probability", "threshold", "text"),
    [
        (0.9312, None, "93 %"),
        (0.5, 0.5, "50 %"),
        (0.4996, 0.5, "49.96 %"),
        (0.9996, None, "99.96 %"),
        (0.002, None, "0.2 %"),
        (0.0, None, "0 %"),
        (1.0, None, "100 %"),
    ],
)
def test_percentages_never_read_as_certainty_or_as_the_threshold(
    probability: float, threshold: float | None, text: str
) -> None:
    assert wording.percent(probability, threshold) == text


def test_findings_are_ranked_by_what_matters_to_the_reader() -> None:
    stack, _ = cases.ct()
    absent = cases.finding(stack, "tumor", 0.39)
    unsure = cases.finding(stack, "stone", 0.3, evaluation=Evaluation.INDETERMINATE)
    present = cases.finding(stack, "cyst", 0.5)
    assert wording.by_importance((absent, unsure, present)) == [present, unsure, absent]


def test_result_is_the_most_important_finding_and_how_many_more_are_present() -> None:
    stack, _ = cases.ct()
    tumor, cyst = cases.finding(stack, "tumor", 0.93), cases.finding(stack, "cyst", 0.5)
    absent = cases.finding(stack, "stone", 0.03)
    assert wording.result((absent, tumor)) == "93 % Kidney tumor, present"
    assert wording.result((absent, cyst, tumor)) == "93 % Kidney tumor, present, 1 more"
    assert wording.result((absent,)) == "3 % Kidney stone, absent"


def test_site_is_told_with_its_side() -> None:
    stack, _ = cases.ct()
    assert wording.site_text(cases.finding(stack)) == "Kidney structure, right"
    assert wording.site_text(cases.finding(stack, laterality=None)) == "Kidney structure"
