"""A whole node whose processes are killed under load: the crash test, in small."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from benchmarks import faults

pytestmark = pytest.mark.embedded

FIGURES = ("instances found", "results delivered", "duplicates", "temporary files left", "orphan rows and files")


@pytest.mark.timeout(600)
def test_nothing_acknowledged_is_lost_and_each_study_is_delivered_once_whatever_is_killed() -> None:
    if not (Path(faults.MODEL) / "configs" / "node.yaml").is_file():
        pytest.skip(f"no model in {faults.MODEL}")

    report = faults.run(argparse.Namespace(rounds=4, batch=4, seed=7))

    [figures] = report.rows
    assert report.failures == []
    assert figures["instances acknowledged"] == 60
    assert [figures[name] for name in FIGURES] == [60, 6, 0, 0, 0]
