from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from wsidicom import WsiDicom

from dicom_node.domain import ByteArray, ImageStack, NotApplicable, TileGrid
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.slide import OVERVIEW_SIDE, ResolutionLevel, choose_level, read_slide
from dicom_node.imaging.slide_header import read_slide_files
from dicom_node.imaging.stacks import read_stacks
from dicom_node.manifest import ImageKind, InputDefinition
from tests.imaging.slides import FRAME_OF_REFERENCE, GLASS, ORIGIN_MM, PATCH, TISSUE, picture, save, write_slide

INPUT = InputDefinition(channels=3, tile_size=64, microns_per_pixel=1.0, tile_step=32)


def level(microns: float) -> ResolutionLevel:
    return ResolutionLevel(0, 0, 1000, 1000, (microns / 1000, microns / 1000))


def tiles_of(
    stack: ImageStack, definition: InputDefinition = INPUT
) -> tuple[TileGrid, dict[tuple[int, int], ByteArray]]:
    assert stack.slide is not None
    grid = stack.slide.grid(definition)
    return grid, {
        (int(row), int(column)): tile
        for batch in stack.slide.tiles(grid)
        for tile, row, column in zip(batch.pixels, batch.rows, batch.columns, strict=True)
    }


def test_level_nearest_to_the_models_resolution_is_chosen() -> None:
    pyramid = [level(0.25), level(0.5), level(1.0), level(4.0)]

    assert choose_level(pyramid, 0.972).microns_per_pixel == pytest.approx(1.0)
    assert choose_level(pyramid, 0.5).microns_per_pixel == pytest.approx(0.5)
    assert choose_level([level(0.25), level(1.4)], 1.0).microns_per_pixel == pytest.approx(0.25)


def test_slide_that_is_too_coarse_is_refused_with_both_resolutions() -> None:
    with pytest.raises(NotApplicable, match=r"too coarse for the model: it has 29 micrometres.*needs 0.97"):
        choose_level([level(29)], 0.972)


def test_overview_shows_the_slide_and_says_where_it_lies(tmp_path: Path) -> None:
    stack = read_slide(write_slide(tmp_path, picture()))

    assert stack.colour is not None
    assert stack.slide is not None
    assert stack.colour.shape == (1, 768, 1024, 3)
    assert stack.pixels.shape == (1, 768, 1024)
    assert stack.colour[0, 384, 307] == pytest.approx(PATCH, abs=2)
    assert stack.colour[0, 5, 5] == pytest.approx(GLASS, abs=2)
    (plane,) = stack.planes
    assert (plane.rows, plane.columns) == (768, 1024)
    placement = stack.slide.placement
    assert placement.size_mm == pytest.approx((0.768, 1.024))
    assert placement.frame_of_reference_uid == FRAME_OF_REFERENCE
    assert placement.origin_mm == ORIGIN_MM
    assert len(stack.sop_instance_uids) == 2


def test_overview_of_a_single_large_level_is_scaled_down(tmp_path: Path) -> None:
    large = np.repeat(np.repeat(picture(), 3, axis=0), 3, axis=1)

    stack = read_slide(write_slide(tmp_path, large, factors=(1,), tile=512))

    assert stack.colour is not None
    assert stack.colour.shape == (1, 768, OVERVIEW_SIDE, 3)
    np.testing.assert_allclose(stack.colour[0].astype(int), picture().astype(int), atol=60)
    assert np.abs(stack.colour[0].astype(int) - picture().astype(int)).mean() < 1


def test_tiles_are_the_pixels_of_the_tissue_and_of_nothing_else(tmp_path: Path) -> None:
    pixels = picture()

    grid, tiles = tiles_of(read_slide(write_slide(tmp_path, pixels)))

    assert 0 < len(tiles) == grid.tissue.sum() < 0.75 * grid.tissue.size
    for (row, column), tile in tiles.items():
        expected = pixels[32 * row : 32 * row + 64, 32 * column : 32 * column + 64]
        np.testing.assert_array_equal(tile[: expected.shape[0], : expected.shape[1]], expected)
    covered = np.zeros(pixels.shape[:2], bool)
    for row, column in tiles:
        covered[32 * row : 32 * row + 64, 32 * column : 32 * column + 64] = True
    assert covered[(pixels == PATCH).all(axis=-1)].all()
    assert covered[(pixels == TISSUE).all(axis=-1)].mean() > 0.99


def test_tiles_are_resampled_to_the_models_resolution(tmp_path: Path) -> None:
    fine = np.repeat(np.repeat(picture(), 2, axis=0), 2, axis=1)
    paths = write_slide(tmp_path, fine, microns_per_pixel=0.5, factors=(1,), tile=256)

    _, tiles = tiles_of(read_slide(paths))

    tile = tiles[11, 9]
    assert tile.shape == (64, 64, 3)
    expected = picture()[352:416, 288:352].astype(int)
    assert np.abs(tile.astype(int) - expected).mean() < 1


@pytest.mark.parametrize("layout", [{"sparse": True}, {"parts": 3}, {"parts": 2, "sparse": True}, {"factors": (1, 3)}])
def test_layouts_of_one_slide_give_the_same_tiles(tmp_path: Path, layout: dict[str, object]) -> None:
    _, full = tiles_of(read_slide(write_slide(tmp_path / "full", picture())))

    stack = read_slide(write_slide(tmp_path / "other", picture(), **layout))  # type: ignore[arg-type]
    _, other = tiles_of(stack)

    assert full.keys() == other.keys()
    for place, tile in full.items():
        # What a sparse image leaves out is read as white.
        np.testing.assert_allclose(tile.astype(int), other[place], atol=255 - GLASS[0])


def test_images_of_label_and_overview_are_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_slide(tmp_path, picture())
    for flavour in ("LABEL", "OVERVIEW", "THUMBNAIL"):
        dataset = dcmread(paths[1])
        dataset.ImageType = ["DERIVED", "PRIMARY", flavour, "RESAMPLED"]
        dataset.SOPInstanceUID = f"1.2.3.{len(flavour)}"
        paths.append(save(dataset, tmp_path / f"{flavour}.dcm"))
    opened: list[Path] = []
    open_slide = WsiDicom.open
    monkeypatch.setattr(WsiDicom, "open", lambda files, **options: opened.extend(files) or open_slide(files, **options))

    stack = read_slide(paths)
    tiles_of(stack)

    assert set(opened) == set(paths[:2])
    assert len(stack.sop_instance_uids) == 2


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"ImageType": ["ORIGINAL", "PRIMARY", "LABEL", "NONE"]}, "no image of the specimen"),
        ({"SpecimenLabelInImage": "YES"}, "label is in the image"),
        ({"SharedFunctionalGroupsSequence": []}, "resolution is unknown"),
        ({"SamplesPerPixel": 1}, "not in colour"),
    ],
)
def test_slide_that_cannot_be_read_says_why(tmp_path: Path, attributes: dict[str, object], reason: str) -> None:
    paths = write_slide(tmp_path, picture(64, 64), factors=(1,), **attributes)  # type: ignore[arg-type]

    read = read_stacks(ImageKind.SLIDE, paths)

    assert read.stacks == ()
    assert reason in read.not_applicable[0]


def test_empty_slide_has_no_tissue(tmp_path: Path) -> None:
    glass = np.full((512, 512, 3), 240, np.uint8)
    glass += np.random.default_rng(0).integers(0, 6, glass.shape).astype(np.uint8)

    stack = read_slide(write_slide(tmp_path, glass))

    with pytest.raises(NotApplicable, match="No stained tissue"):
        tiles_of(stack)


def test_slide_smaller_than_a_tile_is_refused(tmp_path: Path) -> None:
    stack = read_slide(write_slide(tmp_path, picture(48, 48), factors=(1,)))

    with pytest.raises(NotApplicable, match="smaller than one tile"):
        tiles_of(stack)


def test_truncated_level_is_told_of_as_unreadable(tmp_path: Path) -> None:
    paths = write_slide(tmp_path, picture(), factors=(1,))
    stack = read_slide(paths)
    paths[0].write_bytes(paths[0].read_bytes()[:200_000])

    with pytest.raises(UnreadableImage):
        tiles_of(stack)


def test_real_slides_are_opened_and_refused_for_their_resolution(shared_dicom: Path) -> None:
    (stack,) = read_stacks(
        ImageKind.SLIDE, [shared_dicom / "sm" / "multi_frame_jpeg_camelyon_challenge_image.dcm"]
    ).stacks

    assert stack.colour is not None
    assert stack.colour.shape == (1, 622, 1024, 3)
    with pytest.raises(NotApplicable, match="too coarse"):
        tiles_of(stack)
    grid, tiles = tiles_of(stack, InputDefinition(channels=3, tile_size=32, microns_per_pixel=30))
    assert 0.1 < grid.tissue.mean() < 0.5
    assert np.mean([tile.std() for tile in tiles.values()]) > 5


def test_headers_alone_place_a_real_slide_on_the_glass(shared_dicom: Path) -> None:
    (file,), problems = read_slide_files([shared_dicom / "sm" / "sm_image.dcm"])

    assert problems == ()
    assert file.origin_mm == (23.449873, 25.691574)
    assert file.orientation == (0, -1, 0, -1, 0, 0)
    assert file.spacing_mm == (0.000499, 0.000499)
