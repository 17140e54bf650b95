from __future__ import annotations

import numpy as np
import pytest

from dicom_node.lifecycle.drift import (
    ALERT,
    MINIMUM_CASES,
    Features,
    distributions,
    in_years,
    pixel_features,
    population_stability,
    stability,
)


def _cases(count: int, *, age: float, sexes: str = "MF", seed: int = 0) -> list[Features]:
    random = np.random.default_rng(seed)
    return [{"age": float(random.normal(age, 10)), "sex": sexes[i % len(sexes)], "dark": None} for i in range(count)]


def test_index_of_equal_populations_is_zero_and_grows_with_their_distance() -> None:
    assert population_stability([50, 50], [50, 50]) == pytest.approx(0)
    assert population_stability([50, 50], [60, 40]) < population_stability([50, 50], [90, 10])


def test_index_is_as_computed_by_hand() -> None:
    a, e = np.array([30.5, 70.5]) / 101, np.array([50.5, 50.5]) / 101

    assert population_stability([50, 50], [30, 70]) == pytest.approx(float(((a - e) * np.log(a / e)).sum()))


def test_a_bin_that_is_empty_on_one_side_leaves_the_index_finite() -> None:
    assert np.isfinite(population_stability([100, 0], [0, 100]))


def test_samples_of_one_population_raise_no_alert_at_the_least_number_of_cases() -> None:
    indices = [
        one.index
        for seed in range(20)
        for one in stability(
            distributions(_cases(MINIMUM_CASES, age=50, seed=seed)),
            _cases(MINIMUM_CASES, age=50, seed=100 + seed),
            of_training=False,
        )
    ]

    assert all(index is not None and index < ALERT for index in indices)


def test_an_older_population_is_told_and_an_unchanged_one_beside_it_is_not() -> None:
    reference = distributions(_cases(400, age=50))

    rows = {one.feature: one for one in stability(reference, _cases(400, age=65, seed=1), of_training=False)}

    assert rows["age"].has_shifted
    assert not rows["sex"].has_shifted


def test_a_value_never_seen_before_counts() -> None:
    reference = distributions([{"manufacturer": "ACME"}] * MINIMUM_CASES)

    (row,) = stability(reference, [{"manufacturer": "OTHER"}] * MINIMUM_CASES, of_training=False)

    assert row.has_shifted


def test_too_few_cases_say_nothing() -> None:
    reference = distributions(_cases(400, age=50))

    assert all(one.index is None for one in stability(reference, _cases(MINIMUM_CASES - 1, age=90), of_training=False))


def test_figures_that_no_case_has_are_left_out() -> None:
    assert set(distributions(_cases(10, age=50))) == {"age", "sex"}


def test_pixel_features_describe_the_grey_scale() -> None:
    grey = np.zeros((100, 100), np.float32)
    grey[:50] = 1

    assert pixel_features(grey) == {"brightness": 0.5, "contrast": 0.5, "dark": 0.0, "bright": 1.0}


@pytest.mark.parametrize(("age", "kept"), [(63.7, 63.0), (101.0, 90.0), (None, None)])
def test_an_age_is_kept_in_whole_years_and_never_above_90(age: float | None, kept: float | None) -> None:
    assert in_years(age) == kept
