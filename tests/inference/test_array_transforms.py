"""The transforms in NumPy say what MONAI's say, on images of every kind and size."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.bundle.config_parser import ConfigParser

from dicom_node.domain import FloatArray, NotApplicable
from dicom_node.inference.array_transforms import array_steps
from dicom_node.inference.definition import BundleDefinition
from dicom_node.inference.discovery import bundle_folders
from dicom_node.inference.monai_transforms import monai_step
from dicom_node.inference.preprocessing import Preprocessing
from dicom_node.manifest import InputDefinition

MODELS = Path(__file__).resolve().parents[2] / "models"

RESIZE = {"_target_": "Resized", "keys": "image", "spatial_size": [96, 80], "mode": "area"}
CROP = {"_target_": "CropForegroundd", "keys": "image", "source_key": "image", "margin": 3, "allow_smaller": True}
NORMALIZE = {"_target_": "NormalizeIntensityd", "keys": "image"}
SOFT_TISSUE = {"_target_": "dicom_node.inference.foreground.soft_tissue", "_mode_": "callable"}
PIPELINES: dict[str, list[dict[str, Any]]] = {
    "resize": [RESIZE],
    "bilinear": [RESIZE | {"mode": "bilinear"}],
    "normalize": [NORMALIZE],
    "center crop": [{"_target_": "CenterSpatialCropd", "keys": ["image"], "roi_size": [61, 400]}],
    "foreground": [CROP, RESIZE],
    "soft tissue": [RESIZE, CROP | {"select_fn": SOFT_TISSUE}, RESIZE, NORMALIZE],
    "loading": [{"_target_": "LoadImaged", "keys": "image"}, RESIZE],
}
SHAPES = [(96, 80), (512, 512), (301, 225), (64, 40)]


def _image(shape: tuple[int, int], seed: int) -> FloatArray:
    """Blobs on black, as a body lies in air."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = ((y / shape[0] - 0.5) / 0.35) ** 2 + ((x / shape[1] - 0.45) / 0.3) ** 2 < 1
    return np.where(inside, random.random(shape) * 0.6 + 0.3, 0).astype(np.float32)


def _configuration(transforms: list[dict[str, Any]]) -> dict[str, Any]:
    return {"_target_": "Compose", "transforms": transforms}


def _by_monai(configuration: Any, definition: InputDefinition) -> Preprocessing:
    return Preprocessing((monai_step(ConfigParser({"p": configuration}).get_parsed_content("p")),), definition)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", PIPELINES)
def test_numpy_gives_what_monai_gives(name: str, shape: tuple[int, int]) -> None:
    configuration = _configuration(PIPELINES[name])
    steps = array_steps(configuration)
    assert steps is not None
    definition = InputDefinition(channels=3)

    found = Preprocessing(steps, definition)(_image(shape, 1))
    expected = _by_monai(configuration, definition)(_image(shape, 1))

    assert found.pixels.dtype == np.float32
    assert found.pixels == pytest.approx(expected.pixels, abs=2e-5)
    assert found.affine == pytest.approx(expected.affine, abs=1e-9)


@pytest.mark.parametrize("folder", bundle_folders(MODELS), ids=lambda folder: folder.name)
def test_committed_bundles_need_no_monai_and_see_what_it_would_give(folder: Path) -> None:
    definition = BundleDefinition.load(folder)
    configuration = json.loads((folder / "configs/inference.json").read_text())["preprocessing"]
    assert array_steps(configuration) is not None
    tile = definition.manifest.input.tile_size
    for seed, shape in enumerate([(tile, tile)] if tile else SHAPES):
        image = _image(shape, seed)

        found = definition.preprocessing()(image)
        expected = _by_monai(configuration, definition.manifest.input)(image)

        assert found.pixels == pytest.approx(expected.pixels, abs=2e-5)
        assert found.affine == pytest.approx(expected.affine, abs=1e-9)


@pytest.mark.parametrize(
    "transform",
    [
        RESIZE | {"mode": "bicubic"},
        RESIZE | {"anti_aliasing": True},
        RESIZE | {"keys": "label"},
        {"_target_": "Flipd", "keys": "image"},
        CROP | {"select_fn": "$lambda x: x > 0"},
        CROP | {"allow_smaller": False},
        NORMALIZE | {"nonzero": True},
    ],
    ids=str,
)
def test_what_numpy_does_not_know_is_left_to_monai(transform: dict[str, Any]) -> None:
    assert array_steps(_configuration([RESIZE, transform])) is None


def test_an_empty_image_stays_zero_when_normalized() -> None:
    steps = array_steps(_configuration([RESIZE, NORMALIZE]))
    assert steps is not None
    flat = Preprocessing(steps, InputDefinition())(np.full((200, 100), 0.3, dtype=np.float32))
    assert not flat.pixels.any()


def test_an_image_without_foreground_is_not_applicable() -> None:
    steps = array_steps(_configuration([CROP, RESIZE]))
    assert steps is not None
    with pytest.raises(NotApplicable, match="20 x 30 pixels"):
        Preprocessing(steps, InputDefinition())(np.zeros((20, 30), dtype=np.float32))
