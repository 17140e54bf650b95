from pathlib import Path

import pytest

from tests.training.images import write_image
from training.labelled_images import DataError
from training.layouts import FoundImage, find_images

CLASSES = ("normal", "adenocarcinoma", "large_cell_carcinoma")
ALIASES = {"large_cell_carcinoma": ("large.cell.carcinoma",)}


def _find(data: Path) -> dict[str, FoundImage]:
    return {image.name: image for image in find_images(data, CLASSES, ALIASES)}


def test_folders_whose_names_begin_with_a_class_are_of_that_class(tmp_path: Path) -> None:
    write_image(tmp_path / "Data/train/adenocarcinoma_left.lower.lobe_T2_N0_M0_Ib/a.png", 1)
    write_image(tmp_path / "Data/valid/large.cell.carcinoma_left.hilum_T2/b.png", 2)
    write_image(tmp_path / "Data/test/NORMAL/c.png", 3)

    found = _find(tmp_path)

    assert {name: (image.split, image.class_name) for name, image in found.items()} == {
        "a.png": ("train", "adenocarcinoma"),
        "b.png": ("valid", "large_cell_carcinoma"),
        "c.png": ("test", "normal"),
    }


def test_a_class_folder_above_the_splits_is_read_too(tmp_path: Path) -> None:
    write_image(tmp_path / "normal/val/patient 7/a.png", 1)

    (image,) = find_images(tmp_path, CLASSES, {})

    assert (image.class_name, image.split, image.name) == ("normal", "valid", "patient 7__a.png")


def test_groups_come_from_the_index_of_the_data_set(tmp_path: Path) -> None:
    write_image(tmp_path / "train/normal/a.png", 1)
    write_image(tmp_path / "test/normal/a.png", 2)
    (tmp_path / "index.csv").write_text("split,class,file,group\ntrain,normal,a.png,g1\ntest,normal,a.png,g2\n")

    found = find_images(tmp_path, CLASSES, {})

    assert {image.split: image.group for image in found} == {"train": "g1", "test": "g2"}


def test_groups_come_from_the_name_where_there_is_no_index(tmp_path: Path) -> None:
    write_image(tmp_path / "normal/person12_bacteria_34.jpeg", 1)

    (image,) = find_images(tmp_path, CLASSES, {}, group_pattern=r"^(person\d+)_")

    assert image.group == "person12"


def test_what_an_archiver_left_behind_is_not_an_image(tmp_path: Path) -> None:
    write_image(tmp_path / "normal/a.png", 1)
    write_image(tmp_path / "__MACOSX/normal/._a.png", 1)

    assert len(find_images(tmp_path, CLASSES, {})) == 1


def test_a_folder_of_no_class_is_refused_unless_skipped(tmp_path: Path) -> None:
    write_image(tmp_path / "normal/a.png", 1)
    write_image(tmp_path / "other/b.png", 2)

    with pytest.raises(DataError, match="other"):
        find_images(tmp_path, CLASSES, {})
    assert len(find_images(tmp_path, CLASSES, {}, skipped_folders=["other"])) == 1
