import numpy as np
import pytest

from dicom_node.inference.aggregation import strongest_image, strongest_stretch

EXTENT = 15.0


def _series(seed: int, count: int = 40, spacing: float = 3.0) -> tuple[list[float], list[float]]:
    random = np.random.default_rng(seed)
    return list(random.random(count)), [float(z) for z in np.arange(count) * spacing - 50]


def test_of_equal_slices_the_series_says_what_each_says() -> None:
    assert strongest_stretch([0.3] * 10, [2.0 * i for i in range(10)], EXTENT).probability == pytest.approx(0.3)


def test_is_the_mean_over_the_hottest_stretch() -> None:
    probabilities = [0.0] * 10 + [1.0] * 5 + [0.0] * 10
    found = strongest_stretch(probabilities, [3.0 * i for i in range(25)], EXTENT)
    assert found.probability == pytest.approx(1.0)
    assert set(found.indices) == {10, 11, 12, 13, 14}


def test_one_hot_slice_counts_by_the_extent_it_covers() -> None:
    found = strongest_stretch([0, 0, 0, 1, 0, 0, 0], [3.0 * i for i in range(7)], EXTENT)
    assert found.probability == pytest.approx(3 / 15)
    assert found.indices[0] == 3


@pytest.mark.parametrize("seed", range(5))
def test_repeated_slices_change_nothing(seed: int) -> None:
    probabilities, positions = _series(seed)
    repeated = strongest_stretch(probabilities * 3 + probabilities[:5] * 4, positions * 3 + positions[:5] * 4, EXTENT)
    assert repeated.probability == pytest.approx(strongest_stretch(probabilities, positions, EXTENT).probability)


@pytest.mark.parametrize("seed", range(5))
def test_slices_added_elsewhere_change_nothing(seed: int) -> None:
    probabilities, positions = _series(seed)
    elsewhere = [float(z) for z in np.arange(500, 600, 1.0)]
    found = strongest_stretch(probabilities + [0.0] * 100, positions + elsewhere, EXTENT)
    assert found.probability == pytest.approx(strongest_stretch(probabilities, positions, EXTENT).probability)


@pytest.mark.parametrize("seed", range(5))
def test_order_and_direction_change_nothing(seed: int) -> None:
    probabilities, positions = _series(seed)
    order = np.random.default_rng(seed).permutation(len(positions))
    found = strongest_stretch([probabilities[i] for i in order], [-positions[i] for i in order], EXTENT)
    assert found.probability == pytest.approx(strongest_stretch(probabilities, positions, EXTENT).probability)


@pytest.mark.parametrize("thickness", [0.5, 1.0, 2.5, 5.0])
def test_thickness_of_slices_changes_little(thickness: float) -> None:
    z = np.arange(0, 200, thickness)
    probability = np.exp(-(((z - 100) / 20) ** 2))
    found = strongest_stretch(list(probability), list(z), EXTENT)
    assert found.probability == pytest.approx(0.954, abs=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_is_found_by_brute_force_too(seed: int) -> None:
    probabilities, positions = _series(seed, count=20, spacing=1.0)
    fine = np.repeat(probabilities, 100)
    window = np.convolve(fine, np.ones(700) / 700, mode="valid")
    assert strongest_stretch(probabilities, positions, 7.0).probability == pytest.approx(window.max(), abs=1e-9)


def test_short_series_is_averaged_whole() -> None:
    found = strongest_stretch([0.2, 0.4], [0.0, 2.0], EXTENT)
    assert found.probability == pytest.approx(0.3)
    assert found.indices == (1, 0)


def test_single_slice_says_what_it_says() -> None:
    assert strongest_stretch([0.7], [12.0], EXTENT).probability == pytest.approx(0.7)


def test_shares_sum_to_one_with_uneven_spacing() -> None:
    positions = [0.0, 0.2, 5.0, 5.2, 5.2, 10.0, 11.0, 40.0]
    found = strongest_stretch([0.5, 0.1, 0.9, 0.8, 0.3, 0.2, 0.6, 0.1], positions, EXTENT)
    assert found.shares.sum() == pytest.approx(1)
    assert found.shares @ np.array([0.5, 0.1, 0.9, 0.8, 0.3, 0.2, 0.6, 0.1]) == pytest.approx(found.probability)


def test_without_geometry_the_strongest_image_speaks() -> None:
    found = strongest_image([0.2, 0.9, 0.4])
    assert (found.probability, found.indices) == (0.9, (1,))
