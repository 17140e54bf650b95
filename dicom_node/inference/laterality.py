"""Which side of the body a finding lies on, from the geometry of the CT image."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dicom_node.domain import FloatArray, ImagePlane
from dicom_node.geometry import patient_coordinates

BODY_ABOVE_HU = -300.0
MIDLINE_MARGIN_MM = 10.0
"""Nearer to the middle than this, no side is named."""


def side(heat_map: FloatArray, hounsfield: FloatArray, plane: ImagePlane) -> str | None:
    """Return "left" or "right" of the patient for the peak of a heat map on a CT image.

    The midline is the centre of the body on the same image: the largest connected area above -300 HU, which
    leaves the table out. The patient's left is towards +x (PS3.3 C.7.6.2.1.1).

    Returns:
        None where the image has no orientation, shows no body, or the peak lies near the midline.
    """
    if plane.position is None or plane.orientation is None or plane.pixel_spacing is None:
        return None
    areas, count = ndimage.label(ndimage.binary_opening(hounsfield > BODY_ABOVE_HU, iterations=2))
    if count == 0:
        return None
    largest = int(np.argmax(np.bincount(areas.ravel())[1:])) + 1
    body_row, body_column = ndimage.center_of_mass(areas == largest)
    peak_row, peak_column = np.unravel_index(int(np.argmax(heat_map)), heat_map.shape)
    geometry = plane.position, plane.orientation, plane.pixel_spacing
    middle = patient_coordinates(float(body_column), float(body_row), *geometry)[0]
    offset = patient_coordinates(float(peak_column), float(peak_row), *geometry)[0] - middle
    if abs(offset) < MIDLINE_MARGIN_MM:
        return None
    return "left" if offset > 0 else "right"
