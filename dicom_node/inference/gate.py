"""Whether an image is of the kind that a bundle was made for, or of another.

The gate looks at the network's input with an eye of its own, so that neither a new training nor another backend changes
it. It was taught with images of the right kind and of foreign ones (outlier exposure, Hendrycks et al. 2019).
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
_QUANTILE_STEP = 2
"""Quantiles are taken of every second pixel of every second row: they hardly change, and take a quarter of the time."""
_FLAT = 1e-6
_FARTHEST = 8.0
"""Deviations along an axis; beyond them nothing is told apart."""
_NEAREST = 0.05


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
    standard = _standardised(images.astype(np.float32))
    shades = _standardised(_averaged(standard, _SHADES)).reshape(len(images), -1)
    grey = standard.mean(axis=1)
    edges = _edges(_standardised(_averaged(standard, _EDGES)).mean(axis=1))
    layout = np.concatenate([shades / 2, 4 * edges], axis=1)  # so that both have about the same spread
    texture = np.concatenate([_spectrum(grey), _quantiles(standard), _colour(standard)], axis=1)
    return Descriptors(layout.astype(np.float64), texture.astype(np.float64))


@dataclass(frozen=True, slots=True, eq=False)
class Axes:
    """The principal axes of the descriptions of right images.

    ``mean`` and ``scale`` are (F,), ``axes`` (K, F), orthonormal; ``deviations`` (K,) those of right images along them,
    ``rest`` their deviation in each other direction.
    """

    mean: DoubleArray
    scale: DoubleArray
    axes: DoubleArray
    deviations: DoubleArray
    rest: DoubleArray

    def coordinates(self, features: DoubleArray) -> DoubleArray:
        """Return where features (N, F) lie, (N, 2 K + 2): along each axis, the square of it, and how far in all.

        With the squares, a linear boundary becomes one that closes around the right images.
        """
        centred = (features - self.mean) / self.scale
        along = centred @ self.axes.T
        others = max(1, features.shape[1] - len(self.axes))
        across = ((centred**2).sum(axis=1) - (along**2).sum(axis=1)).clip(min=0) / others / self.rest**2
        along = (along / self.deviations).clip(-_FARTHEST, _FARTHEST)
        far = np.stack([(along**2).mean(axis=1), across], axis=1)
        return np.concatenate([along, along**2, np.log(far + _NEAREST)], axis=1)


@dataclass(frozen=True, slots=True, eq=False)
class InputGate:
    """Lets images by that look like those a bundle was trained on, rather than like others: a logistic regression.

    ``weights`` (J,) are those of the coordinates of layout and texture; with ``bias``, images above 0 are refused.
    """

    layout: Axes
    texture: Axes
    weights: DoubleArray
    bias: DoubleArray

    @classmethod
    def load(cls, path: Path) -> InputGate:
        """Read what ``save`` wrote; nothing is unpickled.

        Raises:
            GateError: the file is not a gate.
        """
        try:
            with np.load(path, allow_pickle=False) as arrays:
                layout, texture = (
                    Axes(*(arrays[f"{part}_{field.name}"].astype(np.float64) for field in fields(Axes)))
                    for part in ("layout", "texture")
                )
                gate = cls(layout, texture, *(arrays[name].astype(np.float64) for name in ("weights", "bias")))
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise GateError(f"{path}: is no input gate ({error}). Fit it anew: python -m training gate.") from error
        return gate

    def save(self, path: Path) -> None:
        """Write the gate as arrays, in single precision."""
        arrays = {
            f"{name}_{field.name}": getattr(part, field.name)
            for name, part in (("layout", self.layout), ("texture", self.texture))
            for field in fields(Axes)
        }
        arrays |= {"weights": self.weights, "bias": self.bias}
        path.parent.mkdir(parents=True, exist_ok=True)
        single = {name: np.asarray(array, dtype=np.float32) for name, array in arrays.items()}
        np.savez_compressed(path, allow_pickle=False, **single)

    def strangeness(self, images: FloatArray) -> DoubleArray:
        """Return log odds (N,) that network inputs (N, C, h, w) are of a foreign kind, 0 at the limit."""
        return self.strangeness_of(describe(images))

    def strangeness_of(self, described: Descriptors) -> DoubleArray:
        """The same, of what was described before."""
        coordinates = [self.layout.coordinates(described.layout), self.texture.coordinates(described.texture)]
        odds: DoubleArray = np.concatenate(coordinates, axis=1) @ self.weights + self.bias
        return odds

    def of_kind(self, images: FloatArray) -> npt.NDArray[np.bool_]:
        """Say which network inputs (N, C, h, w) are of the model's kind, (N,)."""
        right: npt.NDArray[np.bool_] = self.strangeness(images) <= 0
        return right


def _standardised(images: FloatArray) -> FloatArray:
    """Mean 0 and deviation 1 over all pixels and channels; zero where there is no contrast."""
    mean = images.mean(axis=(1, 2, 3), keepdims=True)
    deviation = images.std(axis=(1, 2, 3), keepdims=True)
    standard: FloatArray = (images - mean) / np.maximum(deviation, _FLAT)
    return standard


def _averaged(images: FloatArray, side: int) -> FloatArray:
    """Resample to ``side`` squared, each pixel the mean of the area it covers."""
    rows, columns = (_areas(length, side) for length in images.shape[2:])
    return np.asarray(rows @ images @ columns.T, dtype=np.float32)


def _areas(length: int, side: int) -> FloatArray:
    """Return what share each of ``length`` pixels has in each of ``side``, (side, length)."""
    edges = np.arange(side + 1) * (length / side)
    pixels = np.arange(length)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(overlap.clip(min=0) * (side / length), dtype=np.float32)


def _edges(grey: FloatArray) -> FloatArray:
    """Return the share of gradient strength in each cell and direction, square rooted, (N, cells * directions)."""
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, :, 1:-1] = grey[:, :, 2:] - grey[:, :, :-2]
    down[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    strength = np.hypot(across, down)
    turn = (np.arctan2(down, across) / (2 * np.pi) % 1) * _DIRECTIONS
    lower = turn.astype(np.int64)
    side = np.arange(_EDGES) // _CELLS
    cells = side[:, None] * (side[-1] + 1) + side + np.arange(len(grey))[:, None, None] * (side[-1] + 1) ** 2
    counts = np.zeros(len(grey) * (side[-1] + 1) ** 2 * _DIRECTIONS)
    for direction, share in ((lower, 1 - (turn - lower)), (lower + 1, turn - lower)):
        places = (cells * _DIRECTIONS + direction % _DIRECTIONS).ravel()
        counts += np.bincount(places, (strength * share).ravel(), len(counts))
    flat = counts.reshape(len(grey), -1)
    return np.asarray(np.sqrt(flat / (np.linalg.norm(flat, axis=1, keepdims=True) + 1e-3 * _EDGES)), dtype=np.float32)


def _spectrum(grey: FloatArray) -> FloatArray:
    """Return the logarithm of the mean power in bands of spatial frequency, equally wide on a log scale, (N, bands)."""
    height, width = grey.shape[1:]
    window = np.asarray(np.hanning(height)[:, None] * np.hanning(width), dtype=np.float32)
    power = np.abs(np.fft.rfft2(grey * window)) ** 2 / (height * width)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    edges = np.geomspace(1.5 / height, 0.5, _BANDS + 1)
    bands = [(frequency >= low) & (frequency < high) for low, high in pairwise(edges)]
    return np.stack([np.log(power[:, band].sum(axis=1) / max(1, band.sum()) + _FLAT) for band in bands], axis=1)


def _quantiles(images: FloatArray) -> FloatArray:
    """Return quantiles of the pixels, (N, quantiles)."""
    some = images[:, :, ::_QUANTILE_STEP, ::_QUANTILE_STEP].reshape(len(images), -1)
    found: FloatArray = np.quantile(some, _QUANTILES, axis=1).T
    return found


def _colour(images: FloatArray) -> FloatArray:
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
