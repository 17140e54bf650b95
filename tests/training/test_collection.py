from __future__ import annotations

from pathlib import Path

import pytest

from training.collection import collect
from training.data_manifest import ManifestImage, read_manifest, write_manifest
from training.labelled_images import DataError


def _prepared(folder: Path, *images: tuple[str, str, str, str]) -> Path:
    """Write a prepared folder of (split, name, group, fingerprint)."""
    rows = []
    for split, name, group, seen in images:
        path = folder / split / "normal" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{folder.name}{name}")
        digest = f"{folder.name}{name}"
        rows.append(ManifestImage(f"{split}/normal/{name}", "normal", split, group, digest, 8, 8, seen * 64))
    write_manifest(rows, folder)
    return folder


def test_images_of_the_same_name_are_kept_apart_and_lead_to_their_files(tmp_path: Path) -> None:
    folders = [_prepared(tmp_path / name, ("train", "a.png", "", "0")) for name in ("first", "second")]

    collect(folders, tmp_path / "out")

    found = sorted((tmp_path / "out/train/normal").iterdir())
    assert [path.name for path in found] == ["1-a.png", "2-a.png"]
    assert [path.read_text() for path in found] == ["firsta.png", "seconda.png"]


def test_a_patient_that_was_trained_on_is_never_tested_on(tmp_path: Path) -> None:
    first = _prepared(tmp_path / "first", ("train", "a.png", "patient-1", "0"))
    second = _prepared(tmp_path / "second", ("test", "b.png", "patient-1", "f"), ("test", "c.png", "patient-2", "3"))

    images = collect([first, second], tmp_path / "out")

    assert {image.group: image.split for image in images} == {"patient-1": "train", "patient-2": "test"}
    assert read_manifest(tmp_path / "out") == images


def test_what_looks_like_a_test_image_is_left_out_of_training(tmp_path: Path) -> None:
    first = _prepared(tmp_path / "first", ("train", "a.png", "", "5"), ("train", "b.png", "", "0"))
    second = _prepared(tmp_path / "second", ("test", "c.png", "", "5"))

    assert {image.path for image in collect([first, second], tmp_path / "out")} == {
        "train/normal/1-b.png",
        "test/normal/2-c.png",
    }


def test_a_folder_that_holds_something_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()

    with pytest.raises(DataError, match="not empty"):
        collect([], tmp_path / "out")
