"""Examples of where a network looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from tests.training.images import write_image
from training.labelled_images import DataError
from training.model_card import SALIENCY_FOLDER
from training.saliency import Phantom, write_saliency


def test_a_picture_of_each_finding_is_drawn_on_a_phantom(bundle: Path) -> None:
    written = write_saliency(bundle, Phantom.CHEST_RADIOGRAPH, None)

    assert [path.name for path in written] == ["phantom_chest-radiograph_tumor.png"]
    assert Image.open(written[0]).size == (512, 256)


def test_drawing_anew_replaces_what_was_drawn(bundle: Path, tmp_path: Path) -> None:
    write_saliency(bundle, Phantom.CHEST_RADIOGRAPH, None)
    write_image(tmp_path / "shown/one.png", 1)

    assert [path.name for path in write_saliency(bundle, None, tmp_path / "shown")] == ["image1_tumor.png"]
    assert [path.name for path in (bundle / SALIENCY_FOLDER).iterdir()] == ["image1_tumor.png"]
    assert write_saliency(bundle, None, None) == []
    assert not (bundle / SALIENCY_FOLDER).exists()


def test_a_folder_without_images_is_refused_and_nothing_lost(bundle: Path, tmp_path: Path) -> None:
    write_saliency(bundle, Phantom.CHEST_RADIOGRAPH, None)

    with pytest.raises(DataError, match="holds no image that tiny reads"):
        write_saliency(bundle, None, tmp_path / "empty")
    assert list((bundle / SALIENCY_FOLDER).iterdir())
