from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from dicom_node.domain import Evaluation, ImagePlane, ImageStack
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleError
from dicom_node.inference.operating_point import evaluate
from dicom_node.inference.reader import ModelReader
from dicom_node.manifest import OperatingPoint
from tests.inference.bundles import MANIFEST, TORCH, write_bundle

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def _ct(count: int, seed: int = 0, size: int = 40) -> ImageStack:
    random = np.random.default_rng(seed)
    pixels = (random.random((count, size, size), dtype=np.float32) - 0.3) * 600
    planes = tuple(
        ImagePlane("1.2", "1.2.840.10008.5.1.4.1.1.2", size, size, None, (-50.0, -50.0, 3.0 * z), AXIAL, (2.0, 2.0))
        for z in range(count)
    )
    return ImageStack(pixels, planes, hounsfield=True, notes=("A gap.",))


def _subset(stack: ImageStack, indices: list[int]) -> ImageStack:
    return ImageStack(stack.pixels[indices], tuple(stack.planes[i] for i in indices), stack.hounsfield, stack.notes)


@pytest.fixture(scope="module")
def reader(tiny_bundle: Bundle) -> ModelReader:
    return ModelReader(tiny_bundle)


def test_probabilities_of_one_image_sum_to_one(reader: ModelReader) -> None:
    said = reader.class_probabilities(_ct(1))
    assert list(said) == ["normal", "tumor"]
    assert sum(said.values()) == pytest.approx(1)


def test_probability_is_the_softmax_over_the_temperature(reader: ModelReader, tiny_bundle: Bundle) -> None:
    stack = _ct(1)
    prepare = tiny_bundle.preprocessing
    logits = tiny_bundle.network.logits(prepare(prepare.display_grey(stack, 0)).pixels[None])
    expected = torch.softmax(torch.from_numpy(logits) / 2.0, dim=1)[0]
    assert list(reader.class_probabilities(stack).values()) == pytest.approx(expected.tolist(), abs=1e-6)


def test_an_image_is_scored_alike_in_any_company(reader: ModelReader) -> None:
    stack = _ct(37)
    together = reader.read(stack, "1.2.3").findings[0].image_probabilities
    alone = [reader.class_probabilities(_subset(stack, [index]))["tumor"] for index in range(37)]
    assert together == pytest.approx(alone, abs=1e-6)


def test_reading_describes_the_whole_series(reader: ModelReader, tiny_bundle: Bundle) -> None:
    reading = reader.read(_ct(12), "1.2.3")
    (finding,) = reading.findings
    assert reading.model == tiny_bundle.identity
    assert reading.notes == ("A gap.",)
    assert sum(reading.class_probabilities.values()) == pytest.approx(1)
    assert reading.class_probabilities["tumor"] == pytest.approx(finding.probability)
    assert (finding.number, finding.name, finding.evaluation) == (1, "tumor", Evaluation.PRESENT)
    assert len(finding.image_probabilities) == 12
    assert len({key.index for key in finding.key_images}) == 3
    assert finding.key_index == max(range(12), key=finding.image_probabilities.__getitem__)


def test_repeating_slices_changes_neither_probability_nor_key_image(reader: ModelReader) -> None:
    stack = _ct(12)
    once = reader.read(stack, "1.2.3").findings[0]
    twice = reader.read(_subset(stack, [i for i in range(12) for _ in (0, 1)]), "1.2.3").findings[0]
    assert twice.probability == pytest.approx(once.probability, abs=1e-6)
    assert twice.key_index == 2 * once.key_index


def test_present_finding_has_heat_map_and_region_on_every_key_image(reader: ModelReader) -> None:
    findings = [reader.read(_ct(3, seed), "1.2.3").findings[0] for seed in range(4)]
    keys = [key for finding in findings for key in finding.key_images if key.heat_map is not None]
    assert len(keys) > len(findings)
    for key in keys:
        assert key.heat_map is not None
        assert key.heat_map.shape == (40, 40)
        assert key.region is not None


def test_heat_map_of_a_key_image_is_that_of_the_slice_read_alone(reader: ModelReader) -> None:
    stack = _ct(6)
    keys = reader.read(stack, "1.2.3").findings[0].key_images
    assert len(keys) == 3
    for key in keys:
        (alone,) = reader.read(_subset(stack, [key.index]), "1.2.3").findings[0].key_images
        assert key.heat_map == pytest.approx(alone.heat_map, abs=1e-5)


def test_absent_finding_has_nothing_to_show(tmp_path: Path) -> None:
    point = {"balanced": {"threshold": 1.0}}
    manifest = {**MANIFEST, "findings": [{**MANIFEST["findings"][0], "operating_points": point}]}
    bundle = Bundle.load(write_bundle(tmp_path / "strict", manifest=manifest), TORCH)
    (finding,) = ModelReader(bundle).read(_ct(3), "1.2.3").findings
    assert finding.evaluation is Evaluation.ABSENT
    assert (finding.heat_map, finding.region, finding.laterality) == (None, None, None)


def test_hounsfield_units_pass_through_the_window(reader: ModelReader) -> None:
    stack = _ct(1)
    grey = np.clip((stack.pixels - (40 - 200)) / 400, 0, 1)
    plain = ImageStack(grey, (ImagePlane("", "", 40, 40),))
    assert reader.class_probabilities(plain) == pytest.approx(reader.class_probabilities(stack), abs=1e-6)


def test_wrong_number_of_classes_is_found_when_warming_up(tmp_path: Path) -> None:
    manifest = {**MANIFEST, "classes": ["normal", "tumor", "cyst"]}
    bundle = Bundle.load(write_bundle(tmp_path / "wide", manifest=manifest), TORCH)
    with pytest.raises(BundleError, match="need"):
        ModelReader(bundle).warm_up()


@pytest.mark.parametrize(
    ("probability", "evaluation"),
    [
        (0.8, Evaluation.PRESENT),
        (0.79, Evaluation.INDETERMINATE),
        (0.4, Evaluation.INDETERMINATE),
        (0.39, Evaluation.ABSENT),
    ],
)
def test_operating_point_decides(probability: float, evaluation: Evaluation) -> None:
    assert evaluate(probability, OperatingPoint(threshold=0.8, indeterminate_below=0.4)) is evaluation


def test_threads_that_share_a_reader_read_as_one_would(reader: ModelReader) -> None:
    stacks = [_ct(5, seed) for seed in range(6)]
    alone = [reader.read(stack, "1.2.3").findings[0] for stack in stacks]

    with ThreadPoolExecutor(6) as pool:
        together = [reading.findings[0] for reading in pool.map(lambda stack: reader.read(stack, "1.2.3"), stacks)]

    for one, other in zip(alone, together, strict=True):
        assert one.probability == pytest.approx(other.probability, abs=1e-6)
        assert (one.heat_map is None) == (other.heat_map is None)
        if one.heat_map is not None and other.heat_map is not None:
            assert one.heat_map == pytest.approx(other.heat_map, abs=1e-4)
