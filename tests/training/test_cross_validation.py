import json
from pathlib import Path

import pytest
import torch

from tests.training.images import write_classes
from training import metrics
from training.cross_validation import cross_validate
from training.labelled_images import DataError, LabelledImage
from training.splits import leave_group_out

CPU = torch.device("cpu")


def _data(folder: Path, groups: int) -> Path:
    """Twelve images of each class in ``train``, spread over groups; a ``test`` that would not be read."""
    write_classes(folder / "train", 12)
    (folder / "test/normal").mkdir(parents=True)
    (folder / "test/normal/broken.png").write_bytes(b"not an image")
    rows = [f"train,{name},{name}{i}.png,g{i % groups}" for name in ("normal", "tumor") for i in range(12)]
    (folder / "index.csv").write_text("\n".join(["split,class,file,group", *rows]) + "\n")
    return folder


def test_every_image_is_held_out_once_with_its_group_and_the_bundle_stays_as_it_is(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "RESAMPLES", 20)
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}

    report = cross_validate(bundle, _data(tmp_path / "data", 6), CPU, 2, tmp_path / "plots")

    assert [fold["images"] for fold in report["folds"]] == [12, 12]
    assert sum(map(sum, report["pooled"]["confusion_matrix"])) == 24
    groups = [set(fold["groups"]) for fold in report["folds"]]
    assert groups[0].isdisjoint(groups[1])
    assert len(groups[0] | groups[1]) == 6
    assert set(report["folds"][0]["findings"]["tumor"]["operating_points"]) == {"screening", "balanced", "rule_in"}
    assert set(report["pooled"]["overall"]["accuracy"]) == {"value", "low", "high"}
    json.dumps(report, allow_nan=False)
    assert (tmp_path / "plots/tumor_roc.png").is_file()
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before


def test_each_group_is_left_out_in_turn() -> None:
    images = [LabelledImage(Path(f"{i}.png"), i % 2, f"g{i % 3}") for i in range(9)]

    splits = leave_group_out(images)

    assert [{image.group for image in held_out} for _, held_out in splits] == [{"g0"}, {"g1"}, {"g2"}]
    assert all(len(train) + len(held_out) == 9 for train, held_out in splits)


def test_images_of_unknown_groups_are_not_left_out_one_by_one(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.cross_validation.MOST_GROUPS", 20)
    write_classes(tmp_path / "data", 12)

    with pytest.raises(DataError, match="24 groups"):
        cross_validate(bundle, tmp_path / "data", CPU, None)
