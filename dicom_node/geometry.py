"""Where an image lies in the patient: normals, positions, orientation names and edge letters (PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

import numpy as np
import numpy.typing as npt

Vector = tuple[float, float, float]
RowAndColumn = tuple[float, float, float, float, float, float]
"""Image Orientation (Patient): direction cosines of the row (left to right), then of the column (top to bottom)."""

OBLIQUE_BEYOND_DEGREES = 30.0
"""A plane is named axial, coronal or sagittal up to this angle: tilted head and spine scans keep their name."""

_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))  # towards +x, -x; +y, -y; +z, -z of the patient (LPS)
_NEGLIGIBLE_COSINE = 0.1


class Orientation(StrEnum):
    """How an image plane lies in the patient."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    OBLIQUE = "oblique"


_ORIENTATION_OF_NORMAL = (Orientation.SAGITTAL, Orientation.CORONAL, Orientation.AXIAL)


def normal(orientation: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the unit vector across the slice: the cross product of row and column direction.

    For a supine axial image as it is usually shown (row to the left, column to the back) it points to the head.
    """
    cross = np.cross(np.asarray(orientation[:3], dtype=np.float64), np.asarray(orientation[3:], dtype=np.float64))
    return np.asarray(cross / np.linalg.norm(cross), dtype=np.float64)


def is_valid_orientation(orientation: Sequence[float]) -> bool:
    """Say whether the six cosines are two perpendicular unit vectors, within what rounding in files explains."""
    if len(orientation) != 6 or not np.all(np.isfinite(orientation)):
        return False
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    lengths_fit = np.allclose([np.linalg.norm(row), np.linalg.norm(column)], 1, atol=0.02)
    return bool(lengths_fit and abs(float(row @ column)) < 0.02)


def position_along_normal(position: Sequence[float], orientation: Sequence[float]) -> float:
    """Return the distance in mm of an image plane from the patient's origin, along the slice normal."""
    return float(np.asarray(position, dtype=np.float64) @ normal(orientation))


def classify(orientation: Sequence[float]) -> Orientation:
    """Name the plane by the patient axis that its normal is nearest to, or oblique where none is near."""
    cosines = np.abs(normal(orientation))
    axis = int(np.argmax(cosines))
    if np.degrees(np.arccos(min(1.0, float(cosines[axis])))) > OBLIQUE_BEYOND_DEGREES:
        return Orientation.OBLIQUE
    return _ORIENTATION_OF_NORMAL[axis]


def angle_degrees(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the angle between two directions in degrees, from 0 to 180."""
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    cosine = float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def direction_letters(direction: Iterable[float]) -> str:
    """Return where a direction points in the patient, as Patient Orientation does (PS3.3 C.7.6.1.1.1): "L", "PF".

    Up to three letters, the main one first; R/L, A/P and H/F are the patient's right/left, front/back, head/feet.
    """
    components = [(abs(value), _LETTERS[axis][0 if value > 0 else 1]) for axis, value in enumerate(direction)]
    components.sort(key=lambda component: -component[0])
    return "".join(letter for size, letter in components if size >= _NEGLIGIBLE_COSINE)


def edge_letters(orientation: Sequence[float]) -> tuple[str, str, str, str]:
    """Return the letters to show at the image's (left, right, top, bottom) edge."""
    row, column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    return direction_letters(-row), direction_letters(row), direction_letters(-column), direction_letters(column)


def patient_coordinates(
    column: float,
    row: float,
    position: Sequence[float],
    orientation: Sequence[float],
    pixel_spacing: Sequence[float],
) -> Vector:
    """Return the patient coordinates in mm of a point on the image (PS3.3 Equation C.7.6.2.1-1).

    ``column`` and ``row`` count from the centre of the top left pixel, whose position is Image Position
    (Patient); subtract 0.5 from SCOORD coordinates. ``pixel_spacing`` is (between rows, between columns) in mm.
    """
    along_row, along_column = np.asarray(orientation[:3]), np.asarray(orientation[3:])
    point = np.asarray(position) + along_row * column * pixel_spacing[1] + along_column * row * pixel_spacing[0]
    return float(point[0]), float(point[1]), float(point[2])
