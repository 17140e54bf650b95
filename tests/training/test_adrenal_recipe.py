from pathlib import Path

import pytest

from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import WEIGHTS_FILE, BundleError
from dicom_node.inference.discovery import check_bundle
from tests.inference.bundles import TORCH
from training.configuration import load_training_configuration

BUNDLE = Path(__file__).parents[2] / "models/adrenal_histology"


def test_the_recipe_is_sound() -> None:
    assert check_bundle(BUNDLE) == ()
    configuration = load_training_configuration(BUNDLE)
    assert configuration.class_weights
    assert configuration.validation.folds == 5


@pytest.mark.skipif((BUNDLE / WEIGHTS_FILE).exists(), reason="this site has trained the bundle")
@pytest.mark.parametrize(("switched_on", "reason"), [(False, "disabled"), (True, "Train the model")])
def test_it_refuses_to_run_without_weights(switched_on: bool, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        Bundle.load(BUNDLE, TORCH, even_if_disabled=switched_on)


def test_its_card_says_that_there_are_no_clinical_weights() -> None:
    assert "no clinical weights" in (BUNDLE / "docs/README.md").read_text()
