from __future__ import annotations

import numpy as np
import pytest

from dicom_node.inference.neighbourhood import local_means, strongest_neighbourhood

TISSUE = np.ones((12, 12), bool)


def patch(value: float = 0.9) -> np.ndarray:
    probabilities = np.full((12, 12), 0.1)
    probabilities[4:7, 5:8] = value
    return probabilities


def test_square_over_the_patch_is_found() -> None:
    found = strongest_neighbourhood(patch(), TISSUE, 3)

    assert found.probability == pytest.approx(0.9)
    assert found.members[4:7, 5:8].all()
    assert found.members.sum() == 9


def test_one_stray_tile_is_not_a_finding() -> None:
    probabilities = np.full((12, 12), 0.1)
    probabilities[5, 5] = 1.0

    assert strongest_neighbourhood(probabilities, TISSUE, 3).probability == pytest.approx(0.2)


def test_background_and_tissue_elsewhere_change_nothing() -> None:
    alone = strongest_neighbourhood(patch(), TISSUE, 3).probability
    wide = np.full((40, 50), 0.1)
    wide[10:22, 20:32] = patch()
    tissue = np.zeros((40, 50), bool)
    tissue[10:22, 20:32] = True

    assert strongest_neighbourhood(wide, tissue, 3).probability == alone
    assert strongest_neighbourhood(wide, np.ones_like(tissue), 3).probability == alone


def test_stray_tile_at_the_rim_does_not_stand_for_its_square() -> None:
    tissue = np.zeros((12, 12), bool)
    tissue[3:9, 3:9] = True
    tissue[0, 11] = True
    probabilities = np.full((12, 12), 0.1)
    probabilities[0, 11] = 1.0

    assert strongest_neighbourhood(probabilities, tissue, 3).probability == pytest.approx(0.1)


def test_smallest_biopsy_still_has_a_finding() -> None:
    tissue = np.zeros((12, 12), bool)
    tissue[6, 6] = True

    found = strongest_neighbourhood(np.where(tissue, 0.8, 0.0), tissue, 4)

    assert found.probability == pytest.approx(0.8)
    assert found.members.sum() == 1


def test_grid_smaller_than_the_square_is_taken_whole() -> None:
    assert strongest_neighbourhood(np.array([[0.2, 0.6]]), np.ones((1, 2), bool), 4).probability == pytest.approx(0.4)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
def test_local_means_are_highest_at_the_patch(side: int) -> None:
    means = local_means(patch(), TISSUE, side)

    assert means.shape == (12, 12)
    row, column = np.unravel_index(int(np.argmax(means)), means.shape)
    assert 4 <= row <= 6
    assert 5 <= column <= 7
