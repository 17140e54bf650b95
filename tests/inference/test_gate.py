"""The input gate: what it measures, what it lets by, and what the reader says of images that it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicom_node.domain import FloatArray, ImagePlane, ImageStack, NotApplicable
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleError
from dicom_node.inference.gate import GATE_FILE, Axes, Descriptors, GateError, InputGate, describe
from dicom_node.inference.reader import ModelReader
from tests.inference.bundles import TORCH, write_bundle

BRIGHT = 400.0
"""Hounsfield units: the gate below takes bright slices for its kind."""


class BrightOnly:
    """A stand-in whose kind are images that the preprocessing leaves with some contrast."""

    def of_kind(self, images: FloatArray) -> np.ndarray:
        return images.std(axis=(1, 2, 3)) > 0.1


@pytest.fixture
def reader(tiny_bundle: Bundle) -> ModelReader:
    return ModelReader(replace(tiny_bundle, gate=BrightOnly()))


def _series(bright: list[bool]) -> ImageStack:
    slices = np.zeros((len(bright), 40, 40), dtype=np.float32)
    slices[np.array(bright), 10:30, 10:30] = BRIGHT
    axial = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    planes = tuple(
        ImagePlane(f"1.{i}", "1.2", 40, 40, position=(0.0, 0.0, 5.0 * i), orientation=axial) for i in range(len(bright))
    )
    return ImageStack(slices, planes, hounsfield=True)


def _gate(limit: float = 10.0) -> InputGate:
    """Lets by what lies near noise: the squares along four axes may sum up to ``limit``."""
    described = describe(np.random.default_rng(0).random((40, 1, 32, 32)).astype(np.float32))

    def axes(features: np.ndarray) -> Axes:
        count = features.shape[1]
        return Axes(features.mean(axis=0), np.ones(count), np.eye(2, count), np.full(2, 0.1), np.asarray(0.1))

    weights = np.array([0, 0, 1, 1, 0, 0] * 2, dtype=np.float64)
    return InputGate(axes(described.layout), axes(described.texture), weights, np.asarray(-limit))


def test_a_series_of_another_kind_is_refused_in_a_sentence(reader: ModelReader) -> None:
    with pytest.raises(NotApplicable, match=r"20 images do not look like those the model was made for \(.*\): none"):
        reader.read(_series([False] * 20), "1.2")


def test_a_stretch_of_the_right_kind_is_enough_however_far_the_series_reaches(reader: ModelReader) -> None:
    assert reader.read(_series([False] * 40 + [True] * 8 + [False] * 30), "1.2").findings


def test_a_few_odd_slices_refuse_nothing_and_a_few_right_ones_save_nothing(reader: ModelReader) -> None:
    assert reader.read(_series([True] * 10 + [False] * 3), "1.2").findings
    with pytest.raises(NotApplicable, match="only 1 of 20 do"):
        reader.read(_series([False] * 10 + [True] + [False] * 9), "1.2")


def test_a_single_image_is_refused_unless_any_kind_is_asked_for(reader: ModelReader) -> None:
    dark = ImageStack(np.zeros((1, 40, 40), dtype=np.float32), (ImagePlane("", "", 40, 40),), hounsfield=True)

    with pytest.raises(NotApplicable, match="The image does not look like"):
        reader.class_probabilities(dark)
    assert sum(reader.class_probabilities(dark, of_any_kind=True).values()) == pytest.approx(1)


def test_brightness_and_contrast_change_nothing() -> None:
    images = np.random.default_rng(1).random((3, 1, 48, 48)).astype(np.float32)

    assert _gate().strangeness(5 * images - 2) == pytest.approx(_gate().strangeness(images), rel=1e-3)


def test_what_lies_far_off_is_refused_in_whatever_direction() -> None:
    gate = _gate()
    right = Descriptors(gate.layout.mean[None], gate.texture.mean[None])
    aside = np.zeros_like(right.layout)
    aside[0, 0] = 0.5

    assert gate.strangeness_of(right) < 0
    for sign in (-1, 1):
        assert gate.strangeness_of(Descriptors(right.layout + sign * aside, right.texture)) > 0


def test_an_image_is_of_the_kind_up_to_the_limit() -> None:
    images = np.random.default_rng(1).random((3, 1, 32, 32)).astype(np.float32)
    odds = _gate(0.0).strangeness(images)

    assert _gate(float(np.sort(odds)[1]) + 1e-6).of_kind(images).sum() == 2


@pytest.mark.parametrize("shape", [(1, 1, 64, 64), (2, 3, 33, 47), (1, 3, 8, 8), (1, 1, 300, 20)])
def test_images_of_every_shape_are_described(shape: tuple[int, int, int, int]) -> None:
    described = describe(np.random.default_rng(0).random(shape).astype(np.float32))

    assert np.isfinite(described.layout).all() and np.isfinite(described.texture).all()
    flat = describe(np.zeros(shape, dtype=np.float32))
    assert np.isfinite(flat.layout).all() and np.isfinite(flat.texture).all()


def test_a_gate_is_kept_in_a_file_beside_the_weights(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    assert Bundle.load(folder, TORCH).gate is None
    _gate().save(folder / GATE_FILE)
    images = np.random.default_rng(1).random((3, 1, 32, 32)).astype(np.float32)

    kept = Bundle.load(folder, TORCH).gate

    assert kept is not None
    assert kept.strangeness(images) == pytest.approx(_gate().strangeness(images), rel=1e-4)


def test_a_broken_gate_is_named(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "tiny")
    (folder / GATE_FILE).write_bytes(b"no arrays")

    with pytest.raises(GateError, match=r"gate\.npz"):
        InputGate.load(folder / GATE_FILE)
    with pytest.raises(BundleError, match=r"gate\.npz"):
        Bundle.load(folder, TORCH)
