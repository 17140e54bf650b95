from pathlib import Path

import pytest

from training.labelled_images import DataError, find_labelled_images

CLASSES = ("normal", "large_cell_carcinoma")


def _touch(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()


def test_folders_are_matched_whatever_their_case_and_separators(tmp_path: Path) -> None:
    _touch(tmp_path / "NORMAL/a.JPG")
    _touch(tmp_path / "large.cell-carcinoma/b.png")
    found = find_labelled_images(tmp_path, CLASSES, {})
    assert sorted((image.path.name, image.label) for image in found) == [("a.JPG", 0), ("b.png", 1)]


def test_other_names_of_a_class_are_taken_from_the_configuration(tmp_path: Path) -> None:
    _touch(tmp_path / "LCC/b.png")
    assert find_labelled_images(tmp_path, CLASSES, {"large_cell_carcinoma": ("lcc",)})[0].label == 1


def test_groups_come_from_the_index_of_the_same_split(tmp_path: Path) -> None:
    _touch(tmp_path / "test/normal/a.png")
    _touch(tmp_path / "test/normal/b.png")
    index = "split,class,file,group\ntrain,normal,a.png,g1\ntest,normal,a.png,g2\n"
    (tmp_path / "index.csv").write_text(index, encoding="utf-8")
    groups = [image.group for image in find_labelled_images(tmp_path / "test", CLASSES, {})]
    assert groups[0] == "g2"
    assert groups[1].endswith("b.png")


def test_unknown_folder_is_refused_with_the_classes_there_are(tmp_path: Path) -> None:
    _touch(tmp_path / "cats/a.png")
    with pytest.raises(DataError, match=r"cats.*normal, large_cell_carcinoma"):
        find_labelled_images(tmp_path, CLASSES, {})


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no PNG or JPEG"):
        find_labelled_images(tmp_path, CLASSES, {})
