from typing import Any

import numpy as np
import pytest
from monai.bundle.config_parser import ConfigParser
from scipy import ndimage

from dicom_node.inference.bundle import Bundle
from dicom_node.inference.monai_transforms import monai_step
from dicom_node.inference.preprocessing import Preprocessing
from dicom_node.inference.saliency import heat_map, to_image_grid
from dicom_node.manifest import InputDefinition

RESIZE = {"_target_": "Resized", "keys": "image", "spatial_size": [96, 96], "mode": "area"}
PIPELINES: dict[str, list[dict[str, Any]]] = {
    "resize": [RESIZE],
    "bilinear": [{**RESIZE, "mode": "bilinear", "anti_aliasing": True}],
    "flip": [{"_target_": "Flipd", "keys": "image", "spatial_axis": 0}, RESIZE],
    "flip after resize": [RESIZE, {"_target_": "Flipd", "keys": "image", "spatial_axis": 1}],
    "pad to square": [{"_target_": "SpatialPadd", "keys": "image", "spatial_size": [400, 400]}, RESIZE],
    "crop": [{"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [220, 180]}, RESIZE],
    "transpose": [{"_target_": "Rotate90d", "keys": "image", "k": 1}, RESIZE],
}


def _parse(transforms: list[dict[str, Any]]) -> Preprocessing:
    compose = ConfigParser({"p": {"_target_": "Compose", "transforms": transforms}}).get_parsed_content("p")
    return Preprocessing((monai_step(compose),), InputDefinition())


@pytest.mark.parametrize("name", PIPELINES)
@pytest.mark.parametrize("shape", [(256, 256), (384, 240), (225, 301)])
def test_bright_spot_comes_back_to_where_it_was(name: str, shape: tuple[int, int]) -> None:
    row, column = 0.45 * shape[0], 0.56 * shape[1]
    y, x = np.mgrid[: shape[0], : shape[1]]
    image = np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * 9**2)).astype(np.float32)
    prepared = _parse(PIPELINES[name])(image)
    heat = to_image_grid(prepared.pixels[0], prepared.affine, prepared.pixels.shape[1:], image.shape)
    found = ndimage.center_of_mass(np.where(heat > 0.5 * heat.max(), heat, 0))
    assert found == pytest.approx((row, column), abs=0.35)


def test_coarse_activation_covers_the_image_edge_to_edge() -> None:
    activation = np.array([[1.0, 2.0], [3.0, 4.0]], dtype=np.float32)
    affine = np.array([[2.0, 0.0, 0.5], [0.0, 4.0, 1.5], [0.0, 0.0, 1.0]])
    heat = to_image_grid(activation, affine, (4, 4), (8, 16))
    assert (heat[:2, :4] == 1).all()
    assert (heat[6:, 12:] == 4).all()
    assert heat[3:5, 7:9].mean() == pytest.approx(2.5)
    assert heat[:, ::-1] + heat[::-1] == pytest.approx(5.0)


def test_what_the_network_never_saw_is_cold() -> None:
    prepared = _parse([{"_target_": "CenterSpatialCropd", "keys": "image", "roi_size": [40, 60]}])(
        np.ones((100, 100), dtype=np.float32)
    )
    heat = to_image_grid(np.ones((3, 3), dtype=np.float32), prepared.affine, prepared.pixels.shape[1:], (100, 100))
    assert heat[30:70, 20:80].min() == pytest.approx(1)
    assert np.count_nonzero(heat) == 40 * 60


def test_heat_map_lies_on_the_images_own_grid_with_its_peak_at_one(tiny_bundle: Bundle) -> None:
    grey = np.random.default_rng(0).random((50, 70), dtype=np.float32)
    maps = [heat_map(tiny_bundle, grey, index) for index in (0, 1)]
    found = [heat for heat in maps if heat is not None]
    assert found
    for heat in found:
        assert heat.shape == (50, 70)
        assert heat.dtype == np.float32
        assert heat.max() == pytest.approx(1)
        assert heat.min() >= 0


def test_explaining_leaves_the_scores_alone(tiny_bundle: Bundle) -> None:
    batch = np.random.default_rng(0).random((1, 1, 32, 32), dtype=np.float32)
    before = tiny_bundle.network.logits(batch)
    heat_map(tiny_bundle, np.ones((32, 32), dtype=np.float32), 1)
    assert (before == tiny_bundle.network.logits(batch)).all()
