"""Fitting an input gate on labelled images, and measuring it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.training.images import write_classes, write_image
from training.gate import GATE_REPORT_FILE, fit_gate, measure_gate


def test_right_images_are_let_by_and_others_are_not(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data" / "train", 60)
    write_classes(tmp_path / "data" / "test", 20, seed=1)
    write_image(tmp_path / "other" / "same.png", 77)
    before = sorted(path for path in (tmp_path / "data").rglob("*"))

    fit_gate(bundle, tmp_path / "data")
    report = measure_gate(bundle, tmp_path / "data", {"the same": tmp_path / "other"})

    assert report["false_refusals"]["images"] == 40
    assert report["false_refusals"]["value"] <= 0.1
    assert report["wrong_kinds"]["one grey"]["value"] == 1.0
    assert report["wrong_kinds"]["a corner alone"]["value"] == 1.0
    assert report["wrong_kinds"]["page of text"]["value"] >= 0.9
    assert report["wrong_kinds"]["the same"]["refused"] == 0
    assert json.loads((bundle / GATE_REPORT_FILE).read_text()) == report
    assert sorted(path for path in (tmp_path / "data").rglob("*")) == before
