"""Where an image lies in the patient, in the letters and millimetres that readers know."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from pydicom import Dataset

from dicom_node.domain import ImagePlane, ImageStack

_AXES = (("R", "L"), ("A", "P"), ("F", "H"))
_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "F": "H", "H": "F"}

Vector = npt.NDArray[np.float64]


def direction_letters(direction: Vector) -> str:
    """The letters of a direction in the patient (PS3.3 C.7.6.1.1.1), leading component first: ``"LP"``."""
    order = np.argsort(-np.abs(direction), kind="stable")
    # A component under about 15 degrees of tilt is not worth a letter.
    return "".join(_AXES[axis][int(direction[axis] > 0)] for axis in order if abs(direction[axis]) > 0.26)


def edge_letters(plane: ImagePlane, source: Dataset) -> tuple[str, str, str, str] | None:
    """What the left, top, right and bottom edge of the image face, or None where the object does not say."""
    if plane.orientation is not None:
        right = direction_letters(np.array(plane.orientation[:3]))
        bottom = direction_letters(np.array(plane.orientation[3:]))
    else:
        stated = [str(letters) for letters in source.get("PatientOrientation") or ()]
        if len(stated) != 2 or not all(stated):
            return None
        right, bottom = stated
    return _opposite(right), _opposite(bottom), right, bottom


def _opposite(letters: str) -> str:
    return "".join(_OPPOSITE.get(letter, letter) for letter in letters)


def slice_normal(plane: ImagePlane) -> Vector | None:
    """The unit normal of the plane, row direction cross column direction, or None for projections."""
    if plane.orientation is None:
        return None
    return np.cross(plane.orientation[:3], plane.orientation[3:])


def position_text(plane: ImagePlane) -> str:
    """Where a slice lies along the patient axis nearest to its normal: ``z 110.5 mm``; empty for projections."""
    normal = slice_normal(plane)
    if normal is None or plane.position is None:
        return ""
    axis = int(np.argmax(np.abs(normal)))
    return f"{'xyz'[axis]} {plane.position[axis]:.1f} mm"


def stack_ends(stack: ImageStack) -> tuple[str, str] | None:
    """The letters that the first and the last image of the stack face, or None where positions are unknown."""
    first, last = stack.planes[0].position, stack.planes[-1].position
    if first is None or last is None or first == last:
        return None
    direction = np.subtract(last, first)
    letters = direction_letters(direction / np.linalg.norm(direction))
    return _opposite(letters), letters
