import numpy as np
import pytest
from scipy import ndimage

from dicom_node.inference.region import LARGEST_SHARE, MAXIMUM_VERTICES, outline


def _spot(rows: int, columns: int, row: float, column: float, sigma: float) -> np.ndarray:
    y, x = np.mgrid[:rows, :columns]
    return np.exp(-((y - row) ** 2 + (x - column) ** 2) / (2 * sigma**2)).astype(np.float32)


def test_outline_of_a_round_spot_is_a_circle_around_its_pixel_centre() -> None:
    polygon = np.array(outline(_spot(200, 300, row=80, column=190, sigma=10), 0.5))
    assert polygon[:-1].mean(axis=0) == pytest.approx([190.5, 80.5], abs=0.1)
    radii = np.hypot(*(polygon - [190.5, 80.5]).T)
    assert radii == pytest.approx(10 * np.sqrt(2 * np.log(2)), abs=0.1)


def test_polygon_is_closed_and_short() -> None:
    polygon = outline(_spot(2000, 2000, row=900, column=1000, sigma=300), 0.5)
    assert polygon is not None
    assert polygon[0] == polygon[-1]
    assert len(polygon) <= MAXIMUM_VERTICES


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 63), (47, 0), (47, 63), (20, 63)])
def test_polygon_at_the_border_stays_within_the_image(row: int, column: int) -> None:
    polygon = np.array(outline(_spot(48, 64, row, column, sigma=6), 0.5))
    assert polygon.min() >= 0
    assert (polygon <= [64, 48]).all()


def test_only_the_area_around_the_peak_is_outlined() -> None:
    heat = np.maximum(_spot(100, 100, 20, 20, 4), 0.9 * _spot(100, 100, 70, 70, 12))
    polygon = np.array(outline(heat, 0.5))
    assert polygon.max() < 40


def test_area_inside_a_hot_ring_is_told_from_the_ring() -> None:
    y, x = np.mgrid[:100, :100]
    ring = 0.8 * np.exp(-((np.hypot(y - 50, x - 50) - 35) ** 2) / 8)
    polygon = np.array(outline(np.maximum(ring, _spot(100, 100, 50, 50, 4)).astype(np.float32), 0.5))
    assert np.ptp(polygon, axis=0).max() < 15


def test_outline_encloses_the_hot_component() -> None:
    random = np.random.default_rng(3)
    heat = ndimage.gaussian_filter(random.random((128, 128)), 8).astype(np.float32)
    heat -= heat.min()
    polygon = np.array(outline(heat, 0.7)) - 0.5
    labels, _ = ndimage.label(heat >= 0.7 * heat.max())
    component = labels == labels[np.unravel_index(heat.argmax(), heat.shape)]
    x, y = polygon.T
    area = abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
    assert area == pytest.approx(component.sum(), rel=0.1)


def test_nothing_hot_has_no_outline() -> None:
    assert outline(np.zeros((10, 10), dtype=np.float32), 0.5) is None


def test_a_diffuse_map_is_outlined_where_it_is_hottest() -> None:
    rows, columns = np.mgrid[0:100, 0:100]
    diffuse = np.exp(-((rows - 30) ** 2 + (columns - 60) ** 2) / (2 * 45.0**2)).astype(np.float32)

    polygon = outline(diffuse, 0.5)

    assert polygon is not None
    x, y = np.array(polygon).T
    area = abs(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2
    assert 0.05 * diffuse.size < area <= LARGEST_SHARE * diffuse.size
    assert x.min() < 60.5 < x.max()
    assert y.min() < 30.5 < y.max()
