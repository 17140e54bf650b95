from __future__ import annotations

import numpy as np
import pytest

from dicom_node.geometry import (
    Orientation,
    angle_degrees,
    classify,
    edge_letters,
    is_valid_orientation,
    normal,
    patient_coordinates,
    position_along_normal,
)

AXIAL = (1, 0, 0, 0, 1, 0)
CORONAL = (1, 0, 0, 0, 0, -1)
SAGITTAL = (0, 1, 0, 0, 0, -1)


def tilted(degrees: float) -> tuple[float, ...]:
    angle = np.radians(degrees)
    return 1, 0, 0, 0, float(np.cos(angle)), float(np.sin(angle))


def test_normal_of_an_axial_image_points_to_the_head() -> None:
    np.testing.assert_array_equal(normal(AXIAL), [0, 0, 1])
    np.testing.assert_array_equal(normal(CORONAL), [0, 1, 0])


@pytest.mark.parametrize(
    ("orientation", "name"),
    [
        (AXIAL, Orientation.AXIAL),
        ((-1, 0, 0, 0, 1, 0), Orientation.AXIAL),
        (CORONAL, Orientation.CORONAL),
        (SAGITTAL, Orientation.SAGITTAL),
        (tilted(25), Orientation.AXIAL),
        (tilted(40), Orientation.OBLIQUE),
        (tilted(70), Orientation.CORONAL),
    ],
)
def test_planes_are_named_by_the_nearest_axis(orientation: tuple[float, ...], name: Orientation) -> None:
    assert classify(orientation) is name


@pytest.mark.parametrize(
    ("orientation", "letters"),
    [
        (AXIAL, ("R", "L", "A", "P")),
        (CORONAL, ("R", "L", "H", "F")),
        (SAGITTAL, ("A", "P", "H", "F")),
        ((-1, 0, 0, 0, 1, 0), ("L", "R", "A", "P")),
        (tilted(20), ("R", "L", "AF", "PH")),
    ],
)
def test_edges_carry_the_letters_of_the_patient(orientation: tuple[float, ...], letters: tuple[str, ...]) -> None:
    assert edge_letters(orientation) == letters


def test_position_along_the_normal_ignores_shifts_within_the_plane() -> None:
    assert position_along_normal((50, -80, 12.5), AXIAL) == 12.5
    assert position_along_normal((0, 0, 12.5), (-1, 0, 0, 0, 1, 0)) == -12.5


def test_patient_coordinates_follow_rows_and_columns() -> None:
    assert patient_coordinates(2, 3, (-100, -50, 7), AXIAL, (0.5, 0.25)) == (-99.5, -48.5, 7)
    assert patient_coordinates(2, 3, (-100, -50, 7), CORONAL, (0.5, 0.25)) == (-99.5, -50, 5.5)


@pytest.mark.parametrize("orientation", [(), (0,) * 6, (1, 0, 0, 1, 0, 0), (1, 0, 0, 0, 1, float("nan"))])
def test_impossible_orientations_are_found(orientation: tuple[float, ...]) -> None:
    assert not is_valid_orientation(orientation)


def test_angles_are_in_degrees() -> None:
    assert angle_degrees((1, 0, 0), (0, 2, 0)) == pytest.approx(90)
    assert angle_degrees((1, 0, 0), (-1, 0, 0)) == pytest.approx(180)
