from pathlib import Path

import pytest
from PIL import Image

from tests.training.images import write_classes, write_image
from training.data_manifest import read_manifest
from training.ingest import IngestOptions, ingest
from training.labelled_images import DataError, find_labelled_images


def test_the_prepared_tree_is_what_training_reads(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data/train", 3)
    write_classes(tmp_path / "data/test", 2, seed=1)
    (tmp_path / "data/index.csv").write_text("split,class,file,group\ntrain,tumor,tumor1.png,scan 4\n")

    ingest(bundle, tmp_path / "data", tmp_path / "out", IngestOptions())

    images = find_labelled_images(tmp_path / "out/train", ("normal", "tumor"), {})
    assert [image.label for image in images] == [0, 0, 0, 1, 1, 1]
    assert images[4].group == "scan 4"
    assert images[0].path.is_symlink()


def test_the_manifest_has_digest_and_size(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data/train", 2)
    write_classes(tmp_path / "data/test", 2, seed=1)

    ingest(bundle, tmp_path / "data", tmp_path / "out", IngestOptions())

    first = read_manifest(tmp_path / "out")[0]
    assert (first.path, first.width, first.height) == ("test/normal/normal0.png", 96, 96)
    assert len(first.sha256) == len(first.fingerprint) == 64


def test_without_a_test_part_whole_groups_are_held_out(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data", 20)

    images = ingest(
        bundle, tmp_path / "data", tmp_path / "out", IngestOptions(group_pattern=r"(\w+?\d?)\d\.", test_fraction=0.25)
    )

    of_group = {group: {i.split for i in images if i.group == group} for group in {i.group for i in images}}
    assert all(len(splits) == 1 for splits in of_group.values())
    assert {i.split for i in images} == {"train", "test"}


def test_an_unreadable_image_stays_in_the_manifest_with_its_problem(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data/train", 2)
    write_classes(tmp_path / "data/test", 2, seed=1)
    (tmp_path / "data/train/normal/normal0.png").write_bytes(b"not an image")

    images = ingest(bundle, tmp_path / "data", tmp_path / "out", IngestOptions())

    assert [image.path for image in images if image.problem] == ["train/normal/normal0.png"]


def test_training_loses_what_looks_like_a_test_image(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data/train", 3)
    write_classes(tmp_path / "data/test", 3, seed=1)
    with Image.open(tmp_path / "data/test/tumor/tumor0.png") as image:
        image.resize((64, 64)).save(tmp_path / "data/train/tumor/copy.png")

    images = ingest(bundle, tmp_path / "data", tmp_path / "out", IngestOptions(drop_near_duplicates=True))

    assert "train/tumor/copy.png" not in {image.path for image in images}
    assert len(images) == 12


def test_a_folder_of_the_user_is_not_overwritten(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data", 5)
    kept = write_image(tmp_path / "out/mine.png", 1)

    with pytest.raises(DataError, match="not made by ingest"):
        ingest(bundle, tmp_path / "data", tmp_path / "out", IngestOptions())
    assert kept.exists()


def test_a_second_run_replaces_the_first(bundle: Path, tmp_path: Path) -> None:
    write_classes(tmp_path / "data/train", 3)
    write_classes(tmp_path / "data/test", 3, seed=1)
    ingest(bundle, tmp_path / "data", tmp_path / "out", IngestOptions())
    (tmp_path / "data/train/normal/normal0.png").unlink()

    ingest(bundle, tmp_path / "data", tmp_path / "out", IngestOptions())

    assert not (tmp_path / "out/train/normal/normal0.png").is_symlink()
    assert (tmp_path / "data/train/normal/normal1.png").exists()
