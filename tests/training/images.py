"""Synthetic labelled images in the layouts that data sets come in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_image(path: Path, seed: int, *, bright: bool = False, side: int = 96) -> Path:
    """Write a smooth random image; a bright one has a white square in its middle."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 140, (8, 8), dtype=np.uint8))
    grey = np.array(coarse.resize((side, side), Image.Resampling.BICUBIC))
    if bright:
        grey[side // 3 : 2 * side // 3, side // 3 : 2 * side // 3] = 250
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(grey).save(path)
    return path


def write_classes(folder: Path, count: int, seed: int = 0, names: tuple[str, str] = ("normal", "tumor")) -> None:
    """Write ``count`` images of each of two classes, which a bright square tells apart."""
    for label, name in enumerate(names):
        for index in range(count):
            write_image(folder / name / f"{name}{index}.png", 10_000 * seed + 1000 * label + index, bright=bool(label))
