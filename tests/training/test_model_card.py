import json
from pathlib import Path

import pytest

from dicom_node.inference.definition import sha256, weights_digest
from training.model_card import EVALUATION_FILE, GATE_REPORT_FILE, model_card

MODELS = Path(__file__).resolve().parents[2] / "models"
EVALUATED = [path.parents[1] for path in sorted(MODELS.glob(f"*/{EVALUATION_FILE}"))]


@pytest.mark.parametrize("folder", EVALUATED, ids=lambda folder: folder.name)
def test_card_is_what_the_evaluation_says(folder: Path) -> None:
    assert (folder / "docs/README.md").read_text(encoding="utf-8") == model_card(folder)


@pytest.mark.parametrize("folder", EVALUATED, ids=lambda folder: folder.name)
def test_evaluation_is_of_the_weights_that_are_shipped(folder: Path) -> None:
    assert weights_digest(folder / "models/model.pt") in model_card(folder)


@pytest.mark.parametrize("folder", EVALUATED, ids=lambda folder: folder.name)
def test_the_gate_that_is_described_is_the_one_that_is_shipped(folder: Path) -> None:
    gate, report = folder / "models/gate.npz", folder / GATE_REPORT_FILE
    assert gate.is_file() == report.is_file()
    if gate.is_file():
        assert json.loads(report.read_text())["gate_digest"] == sha256(gate)
