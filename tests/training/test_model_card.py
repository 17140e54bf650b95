from pathlib import Path

import pytest

from dicom_node.inference.definition import weights_digest
from training.model_card import EVALUATION_FILE, model_card

MODELS = Path(__file__).resolve().parents[2] / "models"
EVALUATED = [path.parents[1] for path in sorted(MODELS.glob(f"*/{EVALUATION_FILE}"))]


@pytest.mark.parametrize("folder", EVALUATED, ids=lambda folder: folder.name)
def test_card_is_what_the_evaluation_says(folder: Path) -> None:
    assert (folder / "docs/README.md").read_text(encoding="utf-8") == model_card(folder)


@pytest.mark.parametrize("folder", EVALUATED, ids=lambda folder: folder.name)
def test_evaluation_is_of_the_weights_that_are_shipped(folder: Path) -> None:
    assert weights_digest(folder / "models/model.pt") in model_card(folder)
