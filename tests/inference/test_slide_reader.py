from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dicom_node.domain import Evaluation, NotApplicable
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.imaging.slide import read_slide
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.reader import ModelReader
from tests.imaging.slides import GLASS, PATCH, TISSUE, picture, write_slide
from tests.inference.bundles import TORCH
from tests.inference.slide_bundle import write_slide_bundle


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> ModelReader:
    folder = write_slide_bundle(tmp_path_factory.mktemp("models") / "purple")
    return ModelReader(Bundle.load(folder, TORCH))


def test_patch_is_found_outlined_and_shown(reader: ModelReader, tmp_path: Path) -> None:
    stack = read_slide(write_slide(tmp_path, picture()))

    reading = reader.read(stack, "1.2.3")

    (finding,) = reading.findings
    assert finding.probability > 0.99
    assert finding.evaluation is Evaluation.PRESENT
    assert finding.heat_map is not None
    assert finding.heat_map.shape == (768, 1024)
    assert finding.heat_map[384, 307] > 0.99
    assert finding.heat_map[384, 700] < 0.01
    assert finding.heat_map[5, 5] == 0
    assert finding.region is not None
    columns, rows = np.array(finding.region).T
    assert columns.mean() == pytest.approx(307, abs=12)
    assert rows.mean() == pytest.approx(384, abs=12)
    assert np.ptp(columns) == pytest.approx(192, abs=70)
    assert reading.class_probabilities["metastasis"] == pytest.approx(finding.probability)
    assert reading.class_probabilities["normal"] == pytest.approx(1 - finding.probability)
    assert reading.notes[0].startswith("Read: ")


def test_key_tiles_lie_in_the_patch_and_do_not_overlap(reader: ModelReader, tmp_path: Path) -> None:
    (finding,) = reader.read(read_slide(write_slide(tmp_path, picture())), "1.2.3").findings

    assert len(finding.key_tiles) == 4
    corners = [tile.outline[0] for tile in finding.key_tiles]
    for index, tile in enumerate(finding.key_tiles):
        assert tile.pixels.shape == (64, 64, 3)
        assert np.median(tile.pixels.reshape(-1, 3), axis=0) == pytest.approx(PATCH, abs=2)
        assert all(max(abs(tile.outline[0][0] - x), abs(tile.outline[0][1] - y)) >= 64 for x, y in corners[:index])


def test_slide_without_patch_is_negative_and_has_no_heat_map(reader: ModelReader, tmp_path: Path) -> None:
    (finding,) = reader.read(read_slide(write_slide(tmp_path, picture(patch=False))), "1.2.3").findings

    assert finding.probability < 0.1
    assert finding.evaluation is Evaluation.ABSENT
    assert finding.heat_map is None
    assert finding.region is None


def test_more_glass_around_the_tissue_does_not_change_the_probability(reader: ModelReader, tmp_path: Path) -> None:
    pixels = picture(384, 512)
    wide = np.full((384 + 256, 512 + 512, 3), GLASS, np.uint8)
    wide[128 : 128 + 384, 256 : 256 + 512] = pixels

    narrow_reading = reader.read(read_slide(write_slide(tmp_path / "narrow", pixels)), "1")
    wide_reading = reader.read(read_slide(write_slide(tmp_path / "wide", wide)), "1")

    assert narrow_reading.findings[0].probability == pytest.approx(wide_reading.findings[0].probability, abs=1e-3)


def test_slide_of_another_resolution_is_read_alike(reader: ModelReader, tmp_path: Path) -> None:
    fine = np.repeat(np.repeat(picture(), 2, axis=0), 2, axis=1)

    (finding,) = reader.read(
        read_slide(write_slide(tmp_path, fine, microns_per_pixel=0.5, factors=(1, 8), tile=256)), "1"
    ).findings

    assert finding.probability > 0.99


def test_plain_tile_is_scored_in_colour(reader: ModelReader, tmp_path: Path) -> None:
    said = {}
    for name, colour in (("tissue", TISSUE), ("patch", PATCH)):
        Image.new("RGB", (96, 96), colour).save(tmp_path / f"{name}.png")
        said[name] = reader.class_probabilities(read_plain_image(tmp_path / f"{name}.png"))["metastasis"]

    assert said["tissue"] < 0.01
    assert said["patch"] > 0.99


def test_whole_slide_is_scored_like_any_image(reader: ModelReader, tmp_path: Path) -> None:
    assert reader.class_probabilities(read_slide(write_slide(tmp_path, picture())))["metastasis"] > 0.99


def test_empty_slide_is_refused(reader: ModelReader, tmp_path: Path) -> None:
    stack = read_slide(write_slide(tmp_path, np.full((256, 256, 3), GLASS, np.uint8)))

    with pytest.raises(NotApplicable, match="No stained tissue"):
        reader.read(stack, "1.2.3")
