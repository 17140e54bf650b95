"""The MONAI transforms that bundles prepare images with, on NumPy arrays: the same numbers, faster, without PyTorch."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dicom_node.domain import FloatArray

DoubleArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """An image on its way to the network.

    ``pixels`` is float32 (C, h, w); ``affine`` (3, 3) maps its pixel indices (row, column) to those of the image
    as it came, as MONAI's transforms record it.
    """

    pixels: FloatArray
    affine: DoubleArray


Step = Callable[[Prepared], Prepared]
Shares = Callable[[int, int], sparse.csr_array]
"""The share (wanted, size) that each of ``size`` old rows has in each of ``wanted`` new ones."""


class EmptyImage(Exception):
    """A transform left nothing of the image."""


def array_steps(configuration: Any) -> tuple[Step, ...] | None:
    """Return what a bundle's ``preprocessing`` does, or None where a part of it is known to MONAI alone.

    ``configuration`` is MONAI's: a ``Compose`` of dictionary transforms of the key "image". Reading the file and
    bringing the channels to the front, with which bundles of the Model Zoo begin, is the node's own and passed over.
    """
    if not isinstance(configuration, Mapping) or configuration.get("_target_") != "Compose":
        return None
    if set(configuration) != {"_target_", "transforms"}:
        return None
    steps: list[Step] = []
    for transform in configuration["transforms"]:
        name, arguments = transform.get("_target_"), {k: v for k, v in transform.items() if k != "_target_"}
        if name in _LOADING and not steps:
            continue
        step = _KNOWN[name](arguments) if name in _KNOWN and arguments.pop("keys", None) in _KEYS else None
        if step is None:
            return None
        steps.append(step)
    return tuple(steps)


def _resize(arguments: dict[str, Any]) -> Step | None:
    size = arguments.pop("spatial_size", None)
    shares = _SHARES.get(arguments.pop("mode", "area"))
    if arguments or shares is None or not _is_size(size):
        return None
    return partial(resize, size=(size[0], size[1]), shares=shares)


def _center_crop(arguments: dict[str, Any]) -> Step | None:
    size = arguments.pop("roi_size", None)
    return None if arguments or not _is_size(size) else partial(crop_center, size=(size[0], size[1]))


def _crop_foreground(arguments: dict[str, Any]) -> Step | None:
    chosen = arguments.pop("select_fn", None)
    margin = arguments.pop("margin", 0)
    if arguments != {"source_key": "image", "allow_smaller": True} or not isinstance(margin, int):
        return None
    if chosen is None:
        return partial(crop_foreground, foreground=_is_positive, margin=margin)
    if not isinstance(chosen, Mapping) or set(chosen) != {"_target_", "_mode_"} or chosen["_mode_"] != "callable":
        return None
    module, _, name = str(chosen["_target_"]).rpartition(".")
    if module != _FOREGROUND:
        return None
    return partial(crop_foreground, foreground=getattr(importlib.import_module(module), name), margin=margin)


def _normalize(arguments: dict[str, Any]) -> Step | None:
    return None if arguments else normalize_intensity


def _is_size(value: Any) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and all(isinstance(side, int) and side > 0 for side in value)


_KEYS = ("image", ["image"])
_FOREGROUND = "dicom_node.inference.foreground"
_LOADING = ("LoadImaged", "EnsureChannelFirstd")
_KNOWN: Mapping[str, Callable[[dict[str, Any]], Step | None]] = {
    "Resized": _resize,
    "CenterSpatialCropd": _center_crop,
    "CropForegroundd": _crop_foreground,
    "NormalizeIntensityd": _normalize,
}


def resize(prepared: Prepared, size: tuple[int, int], shares: Shares) -> Prepared:
    """``Resized``: ``shares`` says what part each old row (or column) has in each new one."""
    shape = prepared.pixels.shape[1:]
    if 0 in shape:
        raise EmptyImage
    scale = np.divide(shape, size)
    step = np.diag([*scale, 1.0])
    step[:2, 2] = (scale - 1) / 2  # edges meet edges, not centres centres
    if shape == size:
        return prepared
    rows, columns = (shares(*sides) for sides in zip(shape, size, strict=True))
    pixels = np.stack([(columns @ (rows @ plane).T).T for plane in prepared.pixels])
    return Prepared(pixels, prepared.affine @ step)


@lru_cache(maxsize=64)
def _area(size: int, wanted: int) -> sparse.csr_array:
    """The mean of the rows that a new one covers, wholly or in part; PyTorch's adaptive average pooling."""
    starts = np.arange(wanted) * size // wanted
    ends = -(-(np.arange(wanted) + 1) * size // wanted)
    counts = ends - starts
    pointers = np.concatenate([[0], np.cumsum(counts)])
    indices = np.arange(pointers[-1]) - np.repeat(pointers[:-1] - starts, counts)
    shares = np.repeat((1 / counts).astype(np.float32), counts)
    return sparse.csr_array((shares, indices, pointers), shape=(wanted, size))


@lru_cache(maxsize=64)
def _bilinear(size: int, wanted: int) -> sparse.csr_array:
    """The two rows nearest to a new one's centre; PyTorch's interpolation, which reckons in single precision."""
    centres = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * np.float32(size / wanted) - np.float32(0.5)
    centres = centres.clip(min=0)
    before = np.minimum(centres.astype(np.int64), size - 1)
    weights = centres - before.astype(np.float32)
    new = np.arange(wanted)
    places = (np.concatenate([new, new]), np.concatenate([before, np.minimum(before + 1, size - 1)]))
    shares = np.concatenate([1 - weights, weights])
    return sparse.coo_array((shares, places), shape=(wanted, size)).tocsr()


_SHARES: Mapping[str, Shares] = {"area": _area, "bilinear": _bilinear}


def crop_center(prepared: Prepared, size: tuple[int, int]) -> Prepared:
    """``CenterSpatialCropd``: a side that is shorter than wanted stays as it is."""
    shape = prepared.pixels.shape[1:]
    starts = [max(side // 2 - wanted // 2, 0) for side, wanted in zip(shape, size, strict=True)]
    ends = [start + wanted for start, wanted in zip(starts, size, strict=True)]
    return _cropped(prepared, starts, ends)


def crop_foreground(prepared: Prepared, foreground: Callable[[FloatArray], Mask], margin: int) -> Prepared:
    """``CropForegroundd`` with ``allow_smaller``: the box around what is chosen, and a margin inside the image."""
    chosen: Mask = foreground(prepared.pixels).max(axis=0)
    if not chosen.any():
        raise EmptyImage
    starts, ends = [], []
    for axis, size in enumerate(chosen.shape):
        places = np.flatnonzero(chosen.max(axis=1 - axis))
        starts.append(max(int(places[0]) - margin, 0))
        ends.append(min(int(places[-1]) + margin + 1, size))
    return _cropped(prepared, starts, ends)


def _cropped(prepared: Prepared, starts: Sequence[int], ends: Sequence[int]) -> Prepared:
    step = np.eye(3)
    step[:2, 2] = starts
    pixels = prepared.pixels[:, starts[0] : ends[0], starts[1] : ends[1]]
    return Prepared(pixels, prepared.affine @ step)


def normalize_intensity(prepared: Prepared) -> Prepared:
    """``NormalizeIntensityd``: zero mean and unit standard deviation over the whole image; an empty one stays zero."""
    pixels = prepared.pixels
    mean, deviation = pixels.mean(dtype=np.float64), pixels.std(dtype=np.float64)
    normal = (pixels - np.float32(mean)) / np.float32(deviation or 1.0)
    return Prepared(normal, prepared.affine)


def _is_positive(pixels: FloatArray) -> Mask:
    """What MONAI's ``CropForegroundd`` takes for foreground where a bundle does not say."""
    return pixels > 0
