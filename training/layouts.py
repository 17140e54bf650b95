"""Finds labelled images in the layouts that public data sets come in."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.labelled_images import INDEX_FILE, SUFFIXES, DataError

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "test": "test",
    "testing": "test",
}
"""What data sets call the parts, and what they are called here."""


@dataclass(frozen=True, slots=True)
class FoundImage:
    """One image file with its label; ``split`` and ``group`` are empty where the layout does not say.

    ``name`` is the file's name, with the folders between it and its class folder, for a tree where each class
    is one folder.
    """

    path: Path
    name: str
    class_name: str
    split: str
    group: str


def find_images(
    data: Path,
    classes: Sequence[str],
    aliases: Mapping[str, Iterable[str]],
    group_pattern: str | None = None,
    skipped_folders: Iterable[str] = (),
) -> list[FoundImage]:
    """List the PNG and JPEG images below ``data`` by the names of the folders that they lie in.

    The innermost folder named as a class, one of its ``aliases``, or one of the two followed by more words (as in
    ``adenocarcinoma_left.lower.lobe_T2``) gives the class; case and separators do not matter. A folder above or
    below it named train, valid or test gives the split. The group is taken from ``index.csv`` (columns class,
    file, group and, if any, split), else it is what ``group_pattern`` finds in the file's name (its first group,
    or the whole match).

    Raises:
        DataError: there is no image, or some lie in folders that no class is named as and that are not skipped.
    """
    if not data.is_dir():
        raise DataError(f"{data}: no such folder.")
    labels = {_words(name): of for of in classes for name in (of, *aliases.get(of, ()))}
    skipped = {_words(name) for name in skipped_folders}
    groups = _index(data)
    pattern = re.compile(group_pattern) if group_pattern else None
    found: list[FoundImage] = []
    unknown: set[str] = set()
    for path in _image_files(data):
        folders = path.relative_to(data).parts[:-1]
        if any(_words(folder) in skipped for folder in folders):
            continue
        depth = next((i for i in reversed(range(len(folders))) if _class_of(folders[i], labels) is not None), None)
        if depth is None:
            unknown.add("/".join(folders) or ".")
            continue
        split_folder = next((folder for folder in folders if folder.lower() in SPLITS), "")
        key = (split_folder or _first(folders[:depth]), folders[depth], path.name)
        found.append(
            FoundImage(
                path,
                "__".join((*(f for f in folders[depth + 1 :] if f != split_folder), path.name)),
                str(_class_of(folders[depth], labels)),
                SPLITS.get(split_folder.lower(), ""),
                groups.get(key) or groups.get(("", *key[1:])) or _group_in_name(pattern, path.name),
            )
        )
    if unknown:
        strangers = ", ".join(sorted(unknown))
        raise DataError(
            f"{data}: no class of the model ({', '.join(classes)}) is named as the folders {strangers}."
            " Add the names to class_folders in configs/train.json, or leave the folders out with --skip-folder."
        )
    if not found:
        raise DataError(f"{data}: holds no PNG or JPEG images in folders named {', '.join(classes)}.")
    return found


def _image_files(data: Path) -> Iterator[Path]:
    for path in sorted(data.rglob("*")):
        hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.relative_to(data).parts)
        if path.suffix.lower() in SUFFIXES and not hidden:
            yield path


def _words(name: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z0-9]+", name.lower()))


def _class_of(folder: str, labels: Mapping[tuple[str, ...], str]) -> str | None:
    """Return the class whose name the folder's begins with, the longest first."""
    words = _words(folder)
    for length in range(len(words), 0, -1):
        if words[:length] in labels:
            return labels[words[:length]]
    return None


def _group_in_name(pattern: re.Pattern[str] | None, name: str) -> str:
    match = pattern.search(name) if pattern else None
    return "" if match is None else match.group(1 if match.re.groups else 0)


def _index(data: Path) -> dict[tuple[str, str, str], str]:
    path = data / INDEX_FILE
    if not path.is_file():
        return {}
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if rows and not {"class", "file", "group"} <= rows[0].keys():
        raise DataError(f"{path}: needs the columns class, file and group; split is optional.")
    return {(row.get("split") or "", row["class"], row["file"]): row["group"] for row in rows}


def _first(folders: Sequence[str]) -> str:
    return folders[0] if folders else ""
