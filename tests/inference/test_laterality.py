import numpy as np
import pytest

from dicom_node.domain import ImagePlane
from dicom_node.inference.laterality import side

SUPINE = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
PRONE = (-1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def _plane(orientation: tuple[float, ...] | None, size: int = 100) -> ImagePlane:
    position = None if orientation is None else (-100.0 * orientation[0], -100.0 * orientation[4], 0.0)
    return ImagePlane("1.2", "1.2", size, size, None, position, orientation, (2.0, 2.0))  # type: ignore[arg-type]


def _body(center_column: int) -> np.ndarray:
    y, x = np.mgrid[:100, :100]
    hounsfield = np.where((x - center_column) ** 2 / 30**2 + (y - 50) ** 2 / 20**2 < 1, 40.0, -1000.0)
    hounsfield[90:93, :] = 100.0  # the table
    return hounsfield.astype(np.float32)


def _peak(column: int) -> np.ndarray:
    heat = np.zeros((100, 100), dtype=np.float32)
    heat[50, column] = 1
    return heat


@pytest.mark.parametrize(
    ("orientation", "column", "expected"),
    [(SUPINE, 70, "left"), (SUPINE, 30, "right"), (PRONE, 70, "right"), (PRONE, 30, "left"), (SUPINE, 51, None)],
)
def test_patient_left_is_towards_positive_x(orientation: tuple[float, ...], column: int, expected: str | None) -> None:
    assert side(_peak(column), _body(50), _plane(orientation)) == expected


def test_midline_is_the_bodys_not_the_images() -> None:
    assert side(_peak(55), _body(35), _plane(SUPINE)) == "left"


def test_no_side_without_orientation_or_body() -> None:
    assert side(_peak(70), _body(50), _plane(None)) is None
    assert side(_peak(70), np.full((100, 100), -1000, dtype=np.float32), _plane(SUPINE)) is None
