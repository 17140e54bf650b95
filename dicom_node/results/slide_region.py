"""Where the region of a finding lies on a slide, as coordinates on the glass or on the pixel matrix."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from highdicom.sr import ImageRegion, ImageRegion3D, SourceImageForRegion

from dicom_node.domain import Finding, FloatArray, ImagePlane, SlidePlacement
from dicom_node.results.request import ResultRequest

DoubleArray = npt.NDArray[np.float64]


def on_pixel_matrix(request: ResultRequest, finding: Finding) -> FloatArray | None:
    """The region, drawn on the overview, on the finest level's total pixel matrix: (N, 2) as (column, row)."""
    if finding.region is None:
        return None
    plane, (rows, columns) = request.plane(finding.key_index), request.stack.pixels.shape[1:]
    return np.asarray(np.asarray(finding.region) * (plane.columns / columns, plane.rows / rows), dtype=np.float32)


def on_glass(placement: SlidePlacement, plane: ImagePlane, outline: FloatArray) -> DoubleArray | None:
    """Coordinates of the total pixel matrix in the slide coordinate system, (N, 3) in mm (PS3.3 C.8.12.2.1).

    ``outline`` (N, 2) is as SCOORD has it, where the centre of the first pixel is at 0.5. None where the images do
    not say where they lie.
    """
    if placement.origin_mm is None or placement.orientation is None or plane.pixel_spacing is None:
        return None
    along_row, along_column = np.reshape(placement.orientation, (2, 3))
    between_rows, between_columns = plane.pixel_spacing
    columns, rows = outline.astype(np.float64).T - 0.5
    origin = np.array([*placement.origin_mm, 0.0])
    return np.asarray(
        origin + np.outer(columns * between_columns, along_row) + np.outer(rows * between_rows, along_column)
    )


def region(request: ResultRequest, finding: Finding, outline: FloatArray) -> ImageRegion | ImageRegion3D:
    """The region of a measurement group: SCOORD3D where the slide has a frame of reference.

    Viewers of slides take annotations in slide coordinates, which hold for all levels; without them the region is
    given on the finest level's total pixel matrix.
    """
    slide, plane = request.stack.slide, request.plane(finding.key_index)
    if slide is not None and slide.placement.frame_of_reference_uid is not None:
        points = on_glass(slide.placement, plane, outline)
        if points is not None:
            return ImageRegion3D("POLYGON", points.astype(np.float32), slide.placement.frame_of_reference_uid)
    source = SourceImageForRegion(plane.sop_class_uid, plane.sop_instance_uid)
    return ImageRegion("POLYLINE", outline, source, pixel_origin_interpretation="VOLUME")
