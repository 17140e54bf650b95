"""dcmjs, which OHIF and other web viewers read with and which shares no code with us, reads the reports back."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import Dataset

from dicom_node.results.file import write_result
from tests.results import cases
from tests.results.test_region_geometry import (
    ORIENTATIONS,
    PEAK_COLUMN,
    PEAK_ROW,
    SPACINGS,
    centroid,
    patient_point,
    study_with_a_peak,
)

DCMJS = Path(os.environ.get("DCMJS", "/nonexistent"))
SCRIPT = Path(__file__).with_name("read_reports.js")

pytestmark = [
    pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed"),
    pytest.mark.skipif(not DCMJS.is_file(), reason="dcmjs is missing: set DCMJS to build/dcmjs.js of the npm package"),
]


def read(reports: Sequence[Dataset], folder: Path) -> list[list[dict[str, Any]]]:
    """The measurement groups of each report, as dcmjs reads them from its file."""
    paths = [folder / f"{number}.dcm" for number in range(len(reports))]
    for report, path in zip(reports, paths, strict=True):
        write_result(report, path)
    command = ["node", str(SCRIPT), str(DCMJS), *map(str, paths)]
    # dcmjs logs on the same stream; what the script says is the last line.
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    groups: list[list[dict[str, Any]]] = json.loads(said[-1])
    return groups


def test_findings_are_read_with_their_probability_site_and_region(tmp_path: Path) -> None:
    stack, sources = cases.ct()
    findings = cases.finding(stack, "tumor", 0.9312, key_indices=(4,)), cases.finding(stack, "cyst", 0.1)
    ((tumor, cyst),) = read(cases.built(stack, sources, *findings), tmp_path)

    assert tumor["trackingIdentifier"] == "Kidney tumor: present, probability 93 % (threshold 40 %, screening)"
    assert (tumor["finding"], tumor["presence"]) == ("Neoplasm of kidney", "Present")
    assert (tumor["site"], tumor["laterality"]) == ("Kidney structure", "Right")
    assert (tumor["label"], tumor["probability"], tumor["threshold"]) == ("Kidney tumor", 93.12, 40)
    assert tumor["algorithm"] == "kidney_ct"
    assert tumor["graphicType"] == "POLYLINE"
    assert tumor["image"] == stack.planes[4].sop_instance_uid
    assert (cyst["finding"], cyst["presence"], cyst["probability"]) == ("Cyst of kidney", "Absent", 10)


def test_a_negative_report_is_read_too(tmp_path: Path) -> None:
    stack, sources = cases.ct()
    ((group,),) = read(cases.built(stack, sources, cases.finding(stack, probability=0.03)), tmp_path)
    assert (group["label"], group["probability"], group["presence"]) == ("Kidney tumor", 3, "Absent")


def test_frames_are_read_by_number(tmp_path: Path) -> None:
    stack, sources = cases.enhanced_ct()
    ((group,),) = read(cases.built(stack, sources, cases.finding(stack, key_indices=(3,))), tmp_path)
    assert (group["image"], int(group["frame"])) == (sources[0].SOPInstanceUID, 4)


def test_centre_of_the_region_is_within_a_pixel_of_the_peak(tmp_path: Path) -> None:
    geometries = list(product(ORIENTATIONS.values(), SPACINGS.values()))
    studies = [study_with_a_peak(orientation, spacing) for orientation, spacing in geometries]
    reports = [cases.built(stack, sources, finding)[0] for stack, sources, finding in studies]

    for (_, spacing), (_, sources, _), (group,) in zip(geometries, studies, read(reports, tmp_path), strict=True):
        (source,) = [one for one in sources if one.SOPInstanceUID == group["image"]]
        column, row = centroid(np.reshape(group["graphicData"], (-1, 2))) - 0.5
        distance = patient_point(source, column, row) - patient_point(sources[3], PEAK_COLUMN, PEAK_ROW)
        assert np.linalg.norm(distance) < min(spacing)
