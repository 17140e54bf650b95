from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

from dicom_node.demo.archives import Orthanc
from dicom_node.demo.node import Node
from tests.peers.traffic import as_new_study, send_with_dcmtk, wait_for_results, wait_until


def test_a_worker_killed_while_it_reads_a_study_finishes_it_after_its_restart_with_one_result_set(
    node: Node, orthanc: Orthanc, shared_dicom: Path, dcmsend: str, tmp_path: Path
) -> None:
    files = as_new_study(sorted((shared_dicom / "ct_chest").glob("*.dcm")), tmp_path)
    study = send_with_dcmtk(dcmsend, node, files)
    wait_until(
        lambda: _state(node, study.study_instance_uid) == "analysing",
        lambda: node.state(study.study_instance_uid),
        every=0.02,
    )
    killed = _worker(node)

    os.kill(killed, signal.SIGKILL)

    assert _state(node, study.study_instance_uid) == "analysing", "the worker was killed too late"
    results = wait_for_results(orthanc, node, study)
    assert (len(results.reports), len(results.captures)) == (1, 1)
    assert _worker(node) != killed
    assert len((node.study(study.study_instance_uid) or {})["analyses"]) == 1


def _state(node: Node, study_instance_uid: str) -> str:
    study = node.study(study_instance_uid)
    return "" if study is None else str(study["state"])


def _worker(node: Node) -> int:
    """Process identifier of the node's worker: the supervisor's child with that name."""
    command = ["pgrep", "-P", str(node.process.pid), "-f", r"dicom_node worker"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert len(found) == 1
    return int(found[0])
