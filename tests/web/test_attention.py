from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dicom_node.config import Config
from dicom_node.disk import DiskSpace
from dicom_node.domain import DeliveryState, StudyState
from dicom_node.liveness import WorkerState
from dicom_node.web.attention import Facts, Severity, what_is_wrong
from dicom_node.web.queries.overview import Backlog, Overview

NOW = datetime(2025, 11, 20, 12, tzinfo=UTC)
WELL = Facts(
    overview=Overview(
        in_progress={},
        ended={},
        turnaround=None,
        queued_since=None,
        last_received_at=None,
        images_per_minute=0.0,
        device=None,
        backlogs=(),
    ),
    refusals=0,
    disk=DiskSpace(100_000, 2048),
    models_installed=True,
)
SILENT = WorkerState("worker-2", "gpu-2", "1.0", NOW - timedelta(minutes=1))
IN_PART = WorkerState("worker-3", "gpu-3", "1.0", NOW, trouble="lung_ct runs on the CPU")


@pytest.fixture
def strict(config: Config) -> Config:
    return config.model_copy(update={"receive": config.receive.model_copy(update={"minimum_free_megabytes": 2048})})


def backlog(state: DeliveryState) -> Backlog:
    return Backlog("archive", state, 2, 4, "Connection refused.", NOW + timedelta(seconds=40), "1.2.3")


def test_nothing_is_said_when_all_is_well(strict: Config) -> None:
    stopped = replace(SILENT, stopped_at=NOW - timedelta(minutes=1), taken_over_at=NOW)
    assert what_is_wrong(replace(WELL, workers=[stopped]), strict, NOW) == ()


@pytest.mark.parametrize(
    ("facts", "severity", "title", "action"),
    [
        (replace(WELL, workers=[SILENT]), Severity.PROBLEM, "worker-2 on gpu-2 has been silent", "workers list"),
        (replace(WELL, drifting=["lung_ct"]), Severity.WARNING, "What lung_ct is given has changed", "latest results"),
        (replace(WELL, workers=[IN_PART]), Severity.WARNING, "lung_ct runs on the CPU", "Mend the cause"),
        (replace(WELL, disk=None), Severity.PROBLEM, "is not there", "node.data_folder"),
        (replace(WELL, disk=DiskSpace(2047, 2048)), Severity.PROBLEM, "Images are refused", "minimum_free_megabytes"),
        (replace(WELL, disk=DiskSpace(3000, 2048)), Severity.WARNING, "filling up", "Free space"),
        (replace(WELL, models_installed=False), Severity.PROBLEM, "No model", "configs/node.yaml"),
        (replace(WELL, refusals=1), Severity.WARNING, "1 refusal by", "peers page"),
        (
            replace(WELL, overview=replace(WELL.overview, ended={StudyState.FAILED: 3})),
            Severity.PROBLEM,
            "3 studies",
            "cause",
        ),
        (
            replace(WELL, overview=replace(WELL.overview, queued_since=NOW - timedelta(minutes=20))),
            Severity.PROBLEM,
            "queued for 20 min",
            "dicom-node worker",
        ),
        (
            replace(WELL, overview=replace(WELL.overview, backlogs=(backlog(DeliveryState.PARKED),))),
            Severity.PROBLEM,
            "archive refused 2 results for good",
            "press 'Try delivery again'",
        ),
        (
            replace(WELL, overview=replace(WELL.overview, backlogs=(backlog(DeliveryState.RETRYING),))),
            Severity.WARNING,
            "2 results for archive",
            "Connection refused. The node tries again in 40 s",
        ),
    ],
)
def test_each_fault_is_named_with_what_to_do(
    strict: Config, facts: Facts, severity: Severity, title: str, action: str
) -> None:
    (item,) = what_is_wrong(facts, strict, NOW)

    assert item.severity is severity
    assert title in item.title
    assert action in item.action


def test_node_without_destination_is_a_problem(strict: Config) -> None:
    (item,) = what_is_wrong(WELL, strict.model_copy(update={"peers": ()}), NOW)

    assert "no destination" in item.title
    assert "receives_results: true" in item.action


def test_study_queued_a_moment_ago_is_no_fault(strict: Config) -> None:
    facts = replace(WELL, overview=replace(WELL.overview, queued_since=NOW - timedelta(minutes=1)))

    assert what_is_wrong(facts, strict, NOW) == ()


def test_problems_come_before_warnings(strict: Config) -> None:
    facts = replace(WELL, disk=DiskSpace(3000, 2048), refusals=1, models_installed=False)

    severities = [item.severity for item in what_is_wrong(facts, strict, NOW)]

    assert severities == [Severity.PROBLEM, Severity.WARNING, Severity.WARNING]
