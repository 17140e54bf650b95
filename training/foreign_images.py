"""Images of the wrong kind, to fit input gates with and to measure them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import gaussian_filter
from sklearn.datasets import load_sample_images

from dicom_node.deliver.sender import is_dicom
from dicom_node.domain import FloatArray, ImagePlane, ImageStack, NotApplicable
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.imaging.stacks import read_stacks
from dicom_node.manifest import ImageKind
from training.metrics import DoubleArray

_COUNT = 40
_ALTERED = 100
_SIDE = 224
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def read_stacks_below(paths: Sequence[Path], kind: ImageKind) -> Iterator[ImageStack | NotApplicable]:
    """Read files as a model of ``kind`` would be given them, each by itself; unreadable ones are left out."""
    for path in paths:
        if not is_dicom(path):
            try:
                yield read_plain_image(path)
            except UnreadableImage:
                continue
        else:
            read = read_stacks(kind, [path])
            yield from read.stacks
            yield from (NotApplicable(reason) for reason in read.not_applicable)


def synthetic(seed: int) -> Mapping[str, list[ImageStack]]:
    """Make images that hold no body at all, the same every time for the same seed; photographs are of two scenes."""
    numbers = np.random.default_rng(seed)
    letters = random.Random(seed)  # noqa: S311 - no secret
    return {
        "one grey": [_stack(np.full((_SIDE, _SIDE), grey)) for grey in np.linspace(0, 1, 11)],
        "gradient": [_stack(_gradient(numbers)) for _ in range(_COUNT)],
        "test object": [_stack(_test_object(numbers)) for _ in range(_COUNT)],
        "white noise": [_stack(numbers.random((_SIDE, _SIDE))) for _ in range(_COUNT)],
        "smooth noise": [_stack(_smooth_noise(numbers, sigma)) for sigma in np.geomspace(1, 60, _COUNT)],
        "noise of natural spectrum": [_stack(_natural_noise(numbers, s)) for s in np.linspace(0.5, 2.5, _COUNT)],
        "empty field": [_stack(_empty_field(numbers)) for _ in range(_COUNT)],
        "page of text": [_stack(_page(letters, number)) for number in range(_COUNT)],
        "photograph": [_photograph(numbers) for _ in range(2 * _COUNT)],
    }


def altered(stacks: Sequence[ImageStack], kind: ImageKind) -> Mapping[str, list[ImageStack]]:
    """Make right images wrong: inverted, turned, four in one, a corner alone.

    Tiles of tissue have no way up, and patients may lie in a CT scanner on their belly or side.
    """
    chosen = [stack.pixels[0] for stack in stacks[:: max(1, len(stacks) // _ALTERED)]]
    if kind is ImageKind.SLIDE:
        return {"in grey": [_stack(pixels) for pixels in chosen]}
    wrong = {
        "inverted": [_stack(1 - pixels) for pixels in chosen],
        "four in one": [_stack(np.tile(pixels, (2, 2))) for pixels in chosen],
        "a corner alone": [_stack(pixels[: len(pixels) // 3, : len(pixels) // 3]) for pixels in chosen],
    }
    if kind is ImageKind.RADIOGRAPH:
        wrong["upside down"] = [_stack(pixels[::-1]) for pixels in chosen]
        wrong["on its side"] = [_stack(np.rot90(pixels)) for pixels in chosen]
    return wrong


def _stack(pixels: DoubleArray | FloatArray) -> ImageStack:
    grey = np.ascontiguousarray(pixels, dtype=np.float32)
    plane = ImagePlane(sop_instance_uid="", sop_class_uid="", rows=grey.shape[0], columns=grey.shape[1])
    return ImageStack(pixels=grey[np.newaxis], planes=(plane,))


def _stretched(pixels: DoubleArray) -> DoubleArray:
    stretched: DoubleArray = (pixels - pixels.min()) / np.ptp(pixels)
    return stretched


def _gradient(numbers: np.random.Generator) -> DoubleArray:
    """From dark to bright, along a line or from a point outwards."""
    down, across = np.mgrid[:_SIDE, :_SIDE] / _SIDE - numbers.random((2, 1, 1))
    angle = 2 * np.pi * numbers.random()
    shades = np.hypot(down, across) if numbers.random() < 0.5 else np.cos(angle) * down + np.sin(angle) * across
    return _stretched(shades)


def _test_object(numbers: np.random.Generator) -> DoubleArray:
    """A disc of one grey with round inserts of others: a phantom of quality control."""
    down, across = np.mgrid[:_SIDE, :_SIDE] / _SIDE - 0.5
    shades = np.where(np.hypot(down, across) < 0.25 + 0.22 * numbers.random(), 0.3 + 0.4 * numbers.random(), 0.0)
    for _ in range(numbers.integers(0, 9)):
        top, left = 0.4 * numbers.random(2) - 0.2
        shades[np.hypot(down - top, across - left) < 0.01 + 0.06 * numbers.random()] = numbers.random()
    noisy: DoubleArray = (shades + 0.03 * numbers.random() * numbers.standard_normal(shades.shape)).clip(0, 1)
    return noisy


def _smooth_noise(numbers: np.random.Generator, sigma: float) -> DoubleArray:
    return _stretched(gaussian_filter(numbers.standard_normal((_SIDE, _SIDE)), sigma, mode="wrap"))


def _natural_noise(numbers: np.random.Generator, slope: float) -> DoubleArray:
    """Noise whose amplitude falls with spatial frequency, as in photographs."""
    line = np.fft.fftfreq(_SIDE)
    frequency = np.hypot(line[:, None], line)
    frequency[0, 0] = 1.0
    noise = np.fft.fft2(numbers.standard_normal((_SIDE, _SIDE)))
    return _stretched(np.fft.ifft2(noise / frequency**slope).real)


def _empty_field(numbers: np.random.Generator) -> DoubleArray:
    """Radiograph of nothing: a collimated field, a little brighter to one side, with noise."""
    down, across = np.mgrid[:_SIDE, :_SIDE] / _SIDE - 0.5
    slope, tilt = 0.3 * numbers.standard_normal(2)
    field = 0.2 + 0.6 * numbers.random() + slope * across + tilt * down
    field += 0.02 * numbers.standard_normal(field.shape)
    top, left, bottom, right = numbers.integers(0, _SIDE // 4, 4)
    collimated = np.zeros_like(field)
    collimated[top : _SIDE - bottom, left : _SIDE - right] = 1
    filled: DoubleArray = (field * collimated).clip(0, 1)
    return filled


def _photograph(numbers: np.random.Generator) -> ImageStack:
    """Cut a square out of one of the two photographs that come with scikit-learn."""
    whole = load_sample_images().images[int(numbers.integers(2))]
    side = int(numbers.integers(150, min(whole.shape[:2])))
    top, left = (int(numbers.integers(length - side + 1)) for length in whole.shape[:2])
    colour = np.ascontiguousarray(whole[top : top + side, left : left + side])
    return replace(_stack(colour.mean(axis=2) / 255), colour=colour[np.newaxis])


def _page(letters: random.Random, number: int) -> DoubleArray:
    """Make lines of words of some size, dark on light or light on dark."""
    paper, ink = (255, 0) if number % 2 else (0, 255)
    size = 8 + number % 8
    page = Image.new("L", (_SIDE, 300), paper)
    draw = ImageDraw.Draw(page)
    font = ImageFont.load_default(size=size)
    for top in range(6, 290, size + 6):
        words = ("".join(letters.choices(_LETTERS, k=letters.randint(2, 9))) for _ in range(6))
        draw.text((8, top), " ".join(words), fill=ink, font=font)
    return np.asarray(page, dtype=np.float64) / 255
