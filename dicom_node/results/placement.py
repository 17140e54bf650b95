"""What a page says about where an image lies in the patient: edge letters, slice position, ends of the stack."""

from __future__ import annotations

import numpy as np
from pydicom import Dataset

from dicom_node.domain import ImagePlane, ImageStack
from dicom_node.geometry import direction_letters, edge_letters, normal

_OPPOSITE = str.maketrans("RLAPHF", "LRPAFH")


def letters_of(plane: ImagePlane, source: Dataset) -> tuple[str, str, str, str] | None:
    """The letters at the left, right, top and bottom edge, or None where the object does not say."""
    if plane.orientation is not None:
        return edge_letters(plane.orientation)
    stated = [str(letters) for letters in source.get("PatientOrientation") or ()]
    if len(stated) != 2 or not all(stated):
        return None
    right, bottom = stated
    return right.translate(_OPPOSITE), right, bottom.translate(_OPPOSITE), bottom


def position_text(plane: ImagePlane) -> str:
    """Where a slice lies along the patient axis nearest to its normal: ``z 110.5 mm``; empty for projections."""
    if plane.orientation is None or plane.position is None:
        return ""
    axis = int(np.argmax(np.abs(normal(plane.orientation))))
    return f"{'xyz'[axis]} {plane.position[axis]:.1f} mm"


def stack_ends(stack: ImageStack) -> tuple[str, str] | None:
    """The letters that the first and the last image of the stack face, or None where positions are unknown."""
    first, last = stack.planes[0].position, stack.planes[-1].position
    if first is None or last is None or first == last:
        return None
    across = np.subtract(last, first)
    letters = direction_letters(across / np.linalg.norm(across))
    return letters.translate(_OPPOSITE), letters
