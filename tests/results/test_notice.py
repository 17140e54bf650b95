from __future__ import annotations

from io import BytesIO

import highdicom as hd
import pytest
from pydicom import Dataset

from dicom_node.domain import ResultKind, StudyState
from dicom_node.results.file import encode
from dicom_node.results.notice import build_notice
from dicom_node.results.options import ResultOptions
from tests.results import cases

REASON = "The series has 3 slices; the model needs 10."


def notice(state: StudyState = StudyState.NOT_APPLICABLE, reason: str = REASON) -> dict[ResultKind, Dataset]:
    _, sources = cases.ct()
    return dict(build_notice(cases.analysis(sources), state, reason, sources, ResultOptions()))


def test_report_says_that_and_why_nothing_was_analysed() -> None:
    content = hd.sr.srread(BytesIO(encode(notice()[ResultKind.STRUCTURED_REPORT]))).content
    assert isinstance(content, hd.sr.MeasurementReport)
    (group,) = content.get_image_measurement_groups()
    assert group.tracking_identifier == f"No AI result: not applicable. {REASON}"
    assert group.finding_type.meaning == "Not performed"


def test_list_of_series_says_it_where_a_viewer_opens_the_report_blank() -> None:
    assert notice()[ResultKind.STRUCTURED_REPORT].SeriesDescription == "AI: no result, not applicable"
    failed = notice(StudyState.FAILED, "The worker ran out of memory.")
    assert failed[ResultKind.STRUCTURED_REPORT].SeriesDescription == "AI: no result, failed"


def test_capture_shows_it_and_names_no_patient() -> None:
    made = notice()[ResultKind.SECONDARY_CAPTURE]
    assert made.ImageComments == REASON
    assert made.pixel_array.any()
    assert made.BurnedInAnnotation == "YES"


def test_another_reason_is_another_object_the_same_one_the_same() -> None:
    first, again = notice(), notice()
    failed = notice(StudyState.FAILED, "The worker ran out of memory.")
    for kind in first:
        assert encode(first[kind]) == encode(again[kind])
        assert first[kind].SOPInstanceUID != failed[kind].SOPInstanceUID


def test_a_study_with_a_result_has_no_notice() -> None:
    with pytest.raises(ValueError, match="delivered"):
        notice(StudyState.DELIVERED)
