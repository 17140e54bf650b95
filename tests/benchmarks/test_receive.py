"""The benchmark of receiving, small: every SCP that this machine has is measured and holds what it was sent."""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

import pytest

from benchmarks import receive


def _run(folder: Path, *options: str) -> list[str]:
    parser = argparse.ArgumentParser()
    receive.add_arguments(parser)
    small = ["--instances", "6", "--rounds", "1", "--folder", str(folder), *options]
    report = receive.run(parser.parse_args(small))
    assert all(float(row["seconds"] or 0) > 0 for row in report.rows)
    assert not report.failures
    return [str(row["SCP"]) for row in report.rows]


def test_each_scp_receives_over_each_number_of_associations(tmp_path: Path) -> None:
    if shutil.which("dcmsend") is None or shutil.which("storescp") is None:
        pytest.skip("dcmsend and storescp (dcmtk) are not installed")
    scps = ["dicom-node", "storescp (not durable)"]

    assert _run(tmp_path, "--associations", "1", "3", "--only", *scps) == scps * 2


def test_processes_that_share_the_port_hold_everything_together(tmp_path: Path) -> None:
    if shutil.which("dcmsend") is None:
        pytest.skip("dcmsend (dcmtk) is not installed")

    assert _run(tmp_path, "--associations", "6", "--only", "dicom-node, 2 processes") == ["dicom-node, 2 processes"]
