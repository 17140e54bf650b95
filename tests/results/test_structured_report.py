from __future__ import annotations

import subprocess
import sys
import time
from io import BytesIO
from itertools import pairwise

import highdicom as hd
import pydicom
import pytest
from pydicom import Dataset
from pydicom.sr.codedict import codes

from dicom_node.domain import Evaluation, ModelIdentity, ResultKind
from dicom_node.results.build import build_results
from dicom_node.results.file import encode
from dicom_node.results.identity import ResultIdentity, device_uid
from tests.results import cases

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


def report(*probabilities: float, slices: int = 6) -> Dataset:
    stack, sources = cases.ct(slices)
    findings = [
        cases.finding(stack, name, probability) for name, probability in zip(cases.LABELS, probabilities, strict=False)
    ]
    (made,) = cases.built(stack, sources, *findings)
    return made


def parsed(dataset: Dataset) -> hd.sr.MeasurementReport:
    """The report as highdicom reads it back from the file."""
    content = hd.sr.srread(BytesIO(encode(dataset))).content
    assert isinstance(content, hd.sr.MeasurementReport)
    return content


def items(item: Dataset) -> list[Dataset]:
    """The content item and everything below it."""
    return [item, *(below for child in item.get("ContentSequence", ()) for below in items(child))]


def test_present_finding_is_a_planar_region_that_highdicom_reads_back() -> None:
    (group,) = parsed(report(0.9312)).get_planar_roi_measurement_groups()
    assert group.tracking_identifier == "Kidney tumor: present, probability 93 % (threshold 40 %, screening)"
    assert group.finding_type.value == "126880001"
    (site,) = group.finding_sites
    assert site.value.value == "64033007"
    assert site.laterality == codes.SCT.Right
    probability, threshold = group.get_measurements()
    assert (probability.name.meaning, probability.derivation.meaning) == ("Kidney tumor", "Probability")
    assert probability.value == pytest.approx(93.12)
    assert probability.unit.value == "%"
    assert threshold.name.meaning == "Present, threshold"
    assert threshold.value == pytest.approx(40)
    (presence,) = group.get_qualitative_evaluations()
    assert presence.value.meaning == "Present"
    assert group.roi.GraphicType == "POLYLINE"


def test_negative_report_says_what_was_looked_for_and_has_coordinates_to_show_it_by() -> None:
    groups = parsed(report(0.03, 0.2)).get_image_measurement_groups()
    assert [group.tracking_identifier for group in groups] == [
        "Kidney cyst: absent, probability 20 % (threshold 40 %, screening)",
        "Kidney tumor: absent, probability 3 % (threshold 40 %, screening)",
    ]
    for group in groups:
        probability, threshold = group.get_measurements()
        assert threshold.name.meaning == "Absent, threshold"
        # OHIF shows a group only where a number is inferred from coordinates.
        (mark,) = probability.referenced_coordinates
        assert mark.GraphicType == "POLYLINE"


def test_marks_of_negative_findings_do_not_lie_on_one_another() -> None:
    marks = [
        measurement.referenced_coordinates[0].value
        for group in parsed(report(0.03, 0.2, 0.1)).get_image_measurement_groups()
        for measurement in group.get_measurements()[:1]
    ]
    rows = sorted((mark[:, 1].min(), mark[:, 1].max()) for mark in marks)
    assert all(above[1] < below[0] for above, below in pairwise(rows))


def test_next_to_a_region_negative_findings_are_regions_too() -> None:
    # PixelMed holds all measurement groups of a report to one template.
    groups = parsed(report(0.9, 0.1, 0.2)).get_planar_roi_measurement_groups()
    assert [group.finding_type.meaning for group in groups] == [
        "Neoplasm of kidney",
        "Kidney stone",
        "Cyst of kidney",
    ]


def test_indeterminate_is_said_as_such() -> None:
    stack, sources = cases.ct()
    finding = cases.finding(stack, probability=0.3, evaluation=Evaluation.INDETERMINATE)
    (group,) = parsed(cases.built(stack, sources, finding)[0]).get_image_measurement_groups()
    assert group.get_qualitative_evaluations()[0].value.meaning == "Indeterminate"


def test_every_group_names_the_algorithm_and_what_its_answer_depends_on() -> None:
    made = report(0.9, 0.1)
    for group in parsed(made).get_planar_roi_measurement_groups():
        texts = {
            (item.name.meaning, item.value)
            for item in group[0].ContentSequence
            if item.value_type == hd.sr.ValueTypeValues.TEXT
        }
        assert ("Algorithm Name", "kidney_ct") in texts
        assert ("Algorithm Version", "1.2.3") in texts
        assert ("Algorithm Parameters", "Operating point: threshold 40 %, screening") in texts
        assert ("Algorithm Parameters", "Window: center 40 HU, width 400 HU") in texts
        assert ("Algorithm Parameters", f"Weights SHA-256: {'ab' * 32}") in texts


def test_the_observer_is_a_device_that_changes_with_the_weights() -> None:
    (observer,) = parsed(report(0.9)).get_observer_contexts()
    assert observer.observer_type == codes.DCM.Device
    uid = observer.observer_identifying_attributes.uid
    assert uid == device_uid(ModelIdentity("kidney_ct", "1.2.3", "ab" * 32))


def test_document_is_complete_unverified_and_every_container_separate() -> None:
    made = report(0.9, 0.1)
    assert made.SOPClassUID == COMPREHENSIVE_3D_SR
    assert (made.CompletionFlag, made.VerificationFlag, made.PreliminaryFlag) == (
        "COMPLETE",
        "UNVERIFIED",
        "PRELIMINARY",
    )
    containers = [item for item in items(made) if item.ValueType == "CONTAINER"]
    assert len(containers) == 6
    assert {container.ContinuityOfContent for container in containers} == {"SEPARATE"}


def test_evidence_names_all_images_the_library_only_those_that_carry_a_finding() -> None:
    stack, sources = cases.ct(40)
    finding = cases.finding(stack, key_indices=tuple(range(30, 0, -1)))
    (made,) = cases.built(stack, sources, finding)
    (study,) = made.CurrentRequestedProcedureEvidenceSequence
    (series,) = study.ReferencedSeriesSequence
    assert len(series.ReferencedSOPSequence) == 40
    library = next(item for item in made.ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == "111028")
    images = [item for item in items(library) if item.ValueType == "IMAGE"]
    assert len(images) == 20
    assert images[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == stack.planes[30].sop_instance_uid


def test_later_analysis_names_the_report_it_supersedes() -> None:
    stack, sources = cases.ct()
    earlier = "c" * 64
    (made,) = cases.built(stack, sources, cases.finding(stack), predecessor_digest=earlier)
    named = made.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    before = ResultIdentity(made.StudyInstanceUID, earlier, cases.reading().model, sources[0].SeriesInstanceUID)
    assert named.ReferencedSOPInstanceUID == before.sop_instance_uid(ResultKind.STRUCTURED_REPORT)
    assert named.ReferencedSOPClassUID == COMPREHENSIVE_3D_SR
    assert "PredecessorDocumentsSequence" not in report(0.9)


def test_notes_about_the_images_are_kept_in_the_report() -> None:
    stack, sources = cases.ct()
    (made,) = cases.built(stack, sources, cases.finding(stack), notes=("Two slices are missing.",))
    assert "Note: Two slices are missing." in {item.get("TextValue") for item in items(made)}


def test_frames_of_a_multi_frame_source_are_named() -> None:
    stack, sources = cases.enhanced_ct()
    (made,) = cases.built(stack, sources, cases.finding(stack, key_indices=(3,)))
    (group,) = parsed(made).get_planar_roi_measurement_groups()
    reference = group.roi.ContentSequence[0].ReferencedSOPSequence[0]
    assert reference.ReferencedSOPInstanceUID == sources[0].SOPInstanceUID
    assert reference.ReferencedFrameNumber == 4


def test_an_image_without_its_header_is_a_fault_of_the_caller() -> None:
    stack, sources = cases.ct()
    with pytest.raises(ValueError, match="1 images of the stack"):
        build_results(cases.analysis(sources), cases.reading(cases.finding(stack)), stack, sources[:-1])


def test_report_of_a_long_ct_is_small_and_quick() -> None:
    stack, sources = cases.ct(400)
    finding = cases.finding(stack, key_indices=tuple(range(200, 220)))
    cases.built(stack, sources, finding)  # highdicom reads its tables at first use
    started = time.process_time()
    (made,) = cases.built(stack, sources, finding)
    assert time.process_time() - started < 0.5
    assert len(encode(made)) < 200_000


def test_source_without_date_or_orientation_still_gets_a_report() -> None:
    stack, sources = cases.radiograph()
    for keyword in ("StudyDate", "StudyTime", "PatientOrientation", "PixelSpacing"):
        delattr(sources[0], keyword)
    (made,) = cases.built(stack, sources, cases.finding(stack))
    assert pydicom.dcmread(BytesIO(encode(made))).Modality == "SR"


def test_nothing_of_the_standard_is_left_to_read_once_it_is_warm() -> None:
    first_report = """
import pkgutil
from dicom_node.results import structured_report
structured_report.warm_up()
def read(package, resource):
    raise AssertionError(resource)
pkgutil.get_data = read
from tests.results.test_structured_report import report
report(0.9312)
"""
    subprocess.run([sys.executable, "-c", first_report], check=True)
