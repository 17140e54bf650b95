from __future__ import annotations

import numpy as np

from dicom_node.imaging.tissue import tissue_mask, tissue_shares
from tests.imaging.slides import GLASS, TISSUE, picture


def test_tissue_is_told_from_glass() -> None:
    pixels = picture(patch=False)

    mask = tissue_mask(pixels)

    assert (mask == (pixels == TISSUE).all(axis=-1)).mean() > 0.99


def test_pale_tissue_beside_dark_tissue_is_kept() -> None:
    pixels = picture()
    pixels[300:400, 500:600] = (238, 208, 224)

    assert tissue_mask(pixels)[310:390, 510:590].all()


def test_glass_dirt_and_black_borders_are_no_tissue() -> None:
    pixels = np.full((200, 200, 3), GLASS, np.uint8)
    pixels[:20] = 0
    pixels[50:80, 50:80] = 120

    assert not tissue_mask(pixels).any()


def test_image_that_is_all_tissue_has_no_background() -> None:
    pixels = np.full((100, 100, 3), TISSUE, np.uint8)
    pixels[:50] = (150, 80, 150)

    assert tissue_mask(pixels).mean() > 0.99


def test_shares_count_fractions_of_pixels() -> None:
    mask = np.zeros((4, 4), bool)
    mask[:, 2:] = True

    shares = tissue_shares(mask, np.array([0.0, 2.0]), np.array([0.0, 1.5, 3.0]), 2.0, 2.0)

    np.testing.assert_allclose(shares, [[0, 0.75, 0.5], [0, 0.75, 0.5]])
