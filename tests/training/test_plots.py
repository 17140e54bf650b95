from pathlib import Path

import numpy as np
from PIL import Image

from dicom_node.manifest import BundleManifest
from tests.inference.bundles import MANIFEST
from training.plots import draw_evaluation
from training.scores import Scores

TINY = BundleManifest.model_validate(MANIFEST)


def _scores(labels: list[int]) -> Scores:
    said = np.linspace(0.05, 0.95, len(labels))
    return Scores(np.stack([1 - said, said], axis=1), np.array(labels), tuple(map(str, range(len(labels)))))


def test_every_finding_has_its_curves(tmp_path: Path) -> None:
    files = draw_evaluation(TINY, _scores([0, 0, 1, 0, 1, 1]), tmp_path / "plots")

    assert [file.name for file in files] == [
        "confusion_matrix.png",
        "tumor_roc.png",
        "tumor_precision_recall.png",
        "tumor_reliability.png",
        "tumor_thresholds.png",
    ]
    for file in files:
        with Image.open(file) as image:
            assert np.asarray(image.convert("L")).std() > 10


def test_without_negatives_there_is_only_the_confusion_matrix(tmp_path: Path) -> None:
    assert [file.name for file in draw_evaluation(TINY, _scores([1, 1]), tmp_path)] == ["confusion_matrix.png"]


def test_the_confusion_matrix_has_the_truth_in_its_rows() -> None:
    assert _scores([0, 0, 0, 1]).confusion_matrix().tolist() == [[2, 1], [0, 1]]
