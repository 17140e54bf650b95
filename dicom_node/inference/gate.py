"""Whether an image is of the kind that a bundle was made for: how far it lies from the images it was trained on.

The gate looks at the network's input with an eye of its own, so that neither a new training nor another backend changes
it.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dicom_node.domain import FloatArray

DoubleArray = npt.NDArray[np.float64]

GATE_FILE = Path("models/gate.npz")

_SHADES = 16
"""Side of the grid of mean grey."""
_EDGES = 64
"""Side of the image whose edges are counted, in cells of 8 x 8 and 8 directions (Dalal and Triggs 2005)."""
_CELLS = 8
_DIRECTIONS = 8
_BANDS = 10
_QUANTILES = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
_FLAT = 1e-6


class GateError(Exception):
    """A gate's file is broken; the text names it."""


@dataclass(frozen=True, slots=True, eq=False)
class Descriptors:
    """What the gate sees of images, features float64 (N, F).

    ``layout`` is where bright and dark lie and how edges run there. ``texture`` is grain, contrast and colour,
    wherever they are. Neither depends on brightness and contrast of the whole image.
    """

    layout: DoubleArray
    texture: DoubleArray


def describe(images: FloatArray) -> Descriptors:
    """Describe network inputs (N, C, h, w)."""
    standard = _standardised(images.astype(np.float64))
    shades = _standardised(_averaged(standard, _SHADES)).reshape(len(images), -1)
    grey = standard.mean(axis=1)
    edges = _edges(_standardised(_averaged(standard, _EDGES)).mean(axis=1))
    return Descriptors(
        np.concatenate([shades / 2, 4 * edges], axis=1),  # so that both have about the same spread
        np.concatenate([_spectrum(grey), _quantiles(standard), _colour(standard)], axis=1),
    )


@dataclass(frozen=True, slots=True, eq=False)
class Cloud:
    """Where the descriptions of right images lie: a Gaussian with a few long axes (probabilistic PCA).

    ``mean`` and ``scale`` are (F,), ``axes`` (K, F), ``variances`` (K,) along them, ``rest`` the variance in
    each other direction. ``limit`` is the distance up to which an image is let by.
    """

    mean: DoubleArray
    scale: DoubleArray
    axes: DoubleArray
    variances: DoubleArray
    rest: DoubleArray
    limit: DoubleArray

    def distances(self, features: DoubleArray) -> DoubleArray:
        """Return how far features (N, F) lie from the mean, (N,); 1 is the limit.

        Within the axes and across them weigh the same, however many there are of each.
        """
        centred = (features - self.mean) / self.scale
        along = centred @ self.axes.T
        squared = (along**2 / self.variances).mean(axis=1)
        others = features.shape[1] - len(self.axes)
        if others:
            across = (centred**2).sum(axis=1) - (along**2).sum(axis=1)
            squared += across.clip(min=0) / (others * self.rest)
        distances: DoubleArray = np.sqrt(squared) / self.limit
        return distances


@dataclass(frozen=True, slots=True, eq=False)
class InputGate:
    """Lets images by that look like those a bundle was trained on."""

    layout: Cloud
    texture: Cloud

    @classmethod
    def load(cls, path: Path) -> InputGate:
        """Read what ``save`` wrote; nothing is unpickled.

        Raises:
            GateError: the file is not a gate.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                clouds = [
                    Cloud(*(arrays[f"{part.name}_{field.name}"].astype(np.float64) for field in fields(Cloud)))
                    for part in fields(cls)
                ]
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise GateError(f"{path}: is no input gate ({error}). Fit it anew: python -m training gate.") from error
        return cls(*clouds)

    def save(self, path: Path) -> None:
        """Write the gate as arrays, in single precision."""
        arrays = {
            f"{part.name}_{field.name}": np.asarray(getattr(getattr(self, part.name), field.name), dtype=np.float32)
            for part in fields(self)
            for field in fields(Cloud)
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, allow_pickle=False, **arrays)

    def distances(self, images: FloatArray) -> DoubleArray:
        """Return how far network inputs (N, C, h, w) are from right images, (N,); above 1 they are of another kind."""
        described = describe(images)
        return np.maximum(self.layout.distances(described.layout), self.texture.distances(described.texture))


def _standardised(images: DoubleArray) -> DoubleArray:
    """Mean 0 and deviation 1 over all pixels and channels; zero where there is no contrast."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    deviation = images.std(axis=(1, 2, 3), keepdims=True)
    standard: DoubleArray = (images - mean) / np.maximum(deviation, _FLAT)
    return standard


def _averaged(images: DoubleArray, side: int) -> DoubleArray:
    """Resample to ``side`` squared, each pixel the mean of the area it covers."""
    rows, columns = (_areas(length, side) for length in images.shape[2:])
    averaged: DoubleArray = rows @ images @ columns.T
    return averaged


def _areas(length: int, side: int) -> DoubleArray:
    """Return what share each of ``length`` pixels has in each of ``side``, (side, length)."""
    edges = np.arange(side + 1) * (length / side)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    shares: DoubleArray = overlap.clip(min=0) * (side / length)
    return shares


def _edges(grey: DoubleArray) -> DoubleArray:
    """Return the share of gradient strength in each cell and direction, square rooted, (N, cells * directions)."""
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(across, down)
    turn = (np.arctan2(down, across) / (2 * np.pi) % 1) * _DIRECTIONS
    side = _EDGES // _CELLS
    counts = np.empty((len(grey), side, side, _DIRECTIONS))
    for direction in range(_DIRECTIONS):
        near = np.abs((turn - direction + _DIRECTIONS / 2) % _DIRECTIONS - _DIRECTIONS / 2)
        cells = (strength * (1 - near).clip(min=0)).reshape(len(grey), side, _CELLS, side, _CELLS)
        counts[..., direction] = cells.sum(axis=(2, 4))
    flat = counts.reshape(len(grey), -1)
    shares: DoubleArray = np.sqrt(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3 * _EDGES))
    return shares


def _spectrum(grey: DoubleArray) -> DoubleArray:
    """Return the logarithm of the mean power in bands of spatial frequency, equally wide on a log scale, (N, bands)."""
    height, width = grey.shape[1:]
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(np.fft.rfft2(grey * window)) ** 2 / (height * width)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    edges = np.geomspace(1.5 / height, 0.5, _BANDS + 1)
    bands = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    return np.stack([np.log(power[:, band].sum(axis=1) / max(1, band.sum()) + _FLAT) for band in bands], axis=1)


def _quantiles(images: DoubleArray) -> DoubleArray:
    """Return quantiles of the pixels, (N, quantiles)."""
    found: DoubleArray = np.quantile(images.reshape(len(images), -1), _QUANTILES, axis=1).T
    return found


def _colour(images: DoubleArray) -> DoubleArray:
    """Return how channels differ from the last in mean and contrast, and how they go together; (N, 0) for grey."""
    channels = images.shape[1]
    means, deviations = images.mean(axis=(2, 3)), images.std(axis=(2, 3))
    flat = (images - means[..., None, None]).reshape(len(images), channels, -1)
    together = flat @ flat.transpose(0, 2, 1) / flat.shape[2]
    together /= np.maximum(deviations[:, :, None] * deviations[:, None, :], _FLAT)
    pairs = np.triu_indices(channels, 1)
    return np.concatenate(
        [means[:, :-1] - means[:, -1:], deviations[:, :-1] - deviations[:, -1:], together[:, *pairs]], axis=1
    )
