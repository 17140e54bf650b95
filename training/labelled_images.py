"""Labelled images in a folder per class, with the patient or scan that each belongs to."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
INDEX_FILE = "index.csv"


class DataError(Exception):
    """A data folder is not laid out as expected; the text says what is."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """One image file, the index of its class, and its group: images of one patient or scan share it."""

    path: Path
    label: int
    group: str


def find_labelled_images(
    folder: Path, classes: Sequence[str], aliases: Mapping[str, Iterable[str]]
) -> list[LabelledImage]:
    """List the images of a folder per class, in a stable order.

    Groups are read from ``index.csv`` (columns class, file, group) in the folder or the one above; an image
    without a group is its own. Class folders are matched whatever their case and separators.

    Raises:
        DataError: a class has no folder, a folder no class, or there is no image.
    """
    labels = {_plain(name): classes.index(of) for of in classes for name in (of, *aliases.get(of, ()))}
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder.")
    groups = _read_groups(folder)
    images: list[LabelledImage] = []
    for class_folder in sorted(path for path in folder.iterdir() if path.is_dir()):
        label = labels.get(_plain(class_folder.name))
        if label is None:
            raise DataError(f"{class_folder}: no class of the model ({', '.join(classes)}) has this folder name.")
        for path in sorted(class_folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                group = groups.get((class_folder.name, path.name)) or str(path)
                images.append(LabelledImage(path, label, group))
    if not images:
        raise DataError(f"{folder}: holds no PNG or JPEG images in folders named {', '.join(classes)}.")
    return images


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", name.lower())


def _read_groups(folder: Path) -> dict[tuple[str, str], str]:
    for path in (folder / INDEX_FILE, folder.parent / INDEX_FILE):
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                return {
                    (row["class"], row["file"]): row["group"]
                    for row in csv.DictReader(file)
                    if row.get("split", folder.name) == folder.name
                }
    return {}
