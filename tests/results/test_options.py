from __future__ import annotations

import pytest

from dicom_node.domain import ResultKind
from dicom_node.results.options import ResultOptions

SR, SC = ResultKind.STRUCTURED_REPORT, ResultKind.SECONDARY_CAPTURE


def test_report_and_capture_are_the_default() -> None:
    assert ResultOptions().kinds == (SR, SC)


def test_a_site_may_label_and_number_its_series() -> None:
    options = ResultOptions(series_numbers={SR: 77}, descriptions={SR: "KI {model} {version}: {result}"})
    assert options.series_number(SR) == 77
    told = options.description(SR, result="Cyst 3 %, absent", title="Kidney CT", model="kidney_ct", version="1.0")
    assert told == "KI kidney_ct 1.0: Cyst 3 %, absent"
    assert options.series_number(SC) != 77


def test_descriptions_fit_their_value_representation() -> None:
    description = ResultOptions().description(SR, result="back\\slash " * 20, title="", model="m", version="1")
    assert len(description) <= 64
    assert "\\" not in description


def test_only_what_differs_from_the_default_is_another_variant() -> None:
    assert ResultOptions(kinds=(SC,)).variant(SR) == ""
    changed = ResultOptions(series_numbers={SR: 77})
    assert changed.variant(SR) != ""
    assert changed.variant(SC) == ""


@pytest.mark.parametrize(
    "wrong",
    [{"kinds": ()}, {"series_numbers": {SR: 0}}, {"descriptions": {SR: "{patient}"}}, {"descriptions": {SR: "{"}}],
)
def test_wrong_options_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"kind|positive|may only use"):
        ResultOptions(**wrong)  # type: ignore[arg-type]
