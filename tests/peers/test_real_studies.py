from __future__ import annotations

import time
from pathlib import Path

import pytest

from dicom_node.demo.archives import Orthanc
from dicom_node.demo.node import Node
from dicom_node.demo.reports import reported_findings
from tests.peers.conftest import QUIET_SECONDS
from tests.peers.traffic import SentStudy, send_with_dcmtk, send_with_orthanc, wait_for_results
from tests.peers.validators import errors_in, missing_validators

STUDIES = ["ct_by_dcmtk", "radiograph_by_dcmtk", "ct_by_orthanc", "radiograph_by_orthanc"]


@pytest.fixture(params=STUDIES)
def study(request: pytest.FixtureRequest) -> SentStudy:
    sent: SentStudy = request.getfixturevalue(request.param)
    return sent


def test_a_study_comes_back_as_one_report_and_one_capture_of_the_same_study(
    study: SentStudy, node: Node, orthanc: Orthanc
) -> None:
    results = wait_for_results(orthanc, node, study)

    assert (len(results.reports), len(results.captures)) == (1, 1)
    assert {item.StudyInstanceUID for item in results.objects} == {study.study_instance_uid}
    assert study.series_instance_uids.isdisjoint({item.SeriesInstanceUID for item in results.objects})


def test_the_report_says_what_was_found_and_rests_on_the_images_sent(
    study: SentStudy, node: Node, orthanc: Orthanc
) -> None:
    report = wait_for_results(orthanc, node, study).reports[0]

    findings = reported_findings(report)
    assert findings
    assert all(finding.model and finding.finding and finding.presence for finding in findings)
    assert all(0.0 <= finding.probability <= 1.0 for finding in findings)
    evidence = {
        series.SeriesInstanceUID
        for item in report.CurrentRequestedProcedureEvidenceSequence
        for series in item.ReferencedSeriesSequence
    }
    assert evidence <= study.series_instance_uids


@pytest.mark.skipif(bool(missing_validators()), reason=f"not installed: {', '.join(missing_validators())}")
@pytest.mark.parametrize("sent", ["ct_by_dcmtk", "radiograph_by_dcmtk", "radiograph_by_orthanc"])
def test_the_results_are_accepted_by_every_validator(
    sent: str, request: pytest.FixtureRequest, node: Node, orthanc: Orthanc, tmp_path: Path
) -> None:
    results = wait_for_results(orthanc, node, request.getfixturevalue(sent))

    for item in results.objects:
        file = tmp_path / f"{item.SOPInstanceUID}.dcm"
        item.save_as(file)
        assert errors_in(file) == []


@pytest.mark.parametrize("sent", ["ct_by_dcmtk", "radiograph_by_orthanc"])
def test_the_same_study_sent_again_has_one_result_set_with_the_same_uids(
    sent: str, request: pytest.FixtureRequest, node: Node, orthanc: Orthanc
) -> None:
    study: SentStudy = request.getfixturevalue(sent)
    first = wait_for_results(orthanc, node, study)

    if study.orthanc_id:
        send_with_orthanc(orthanc, study)
    else:
        send_with_dcmtk(request.getfixturevalue("dcmsend"), node, study.files)
    time.sleep(QUIET_SECONDS + 2.0)  # an analysis that this started would have begun by then

    assert wait_for_results(orthanc, node, study).uids == first.uids
    assert len((node.study(study.study_instance_uid) or {})["analyses"]) == 1
