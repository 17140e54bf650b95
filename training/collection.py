"""Brings several prepared folders together into one, so that a test part stays one however many are added."""

from __future__ import annotations

import csv
import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from training.data_manifest import ManifestImage, read_manifest, write_manifest
from training.fingerprint import near_pairs
from training.labelled_images import INDEX_FILE, DataError

_log = logging.getLogger(__name__)


def collect(prepared: Sequence[Path], out: Path) -> list[ManifestImage]:
    """Write one prepared folder of links to the images of several, each image once.

    A patient or scan that is in training in one of them is in training in all. What looks like an image of the test or
    validation part is left out of training: the test stays of images that were not learnt from.

    Raises:
        DataError: a folder was not prepared, or ``out`` is not empty.
    """
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: is not empty; name a new folder with --out.")
    rows: list[tuple[Path, ManifestImage]] = []
    seen: set[str] = set()
    for number, folder in enumerate(prepared, start=1):
        for image in read_manifest(folder):
            if image.sha256 in seen:
                continue
            seen.add(image.sha256)
            source = (folder / image.path).resolve()
            rows.append((source, replace(image, path=f"{number}-{Path(image.path).name}")))
    splits: dict[str, set[str]] = defaultdict(set)
    for _, image in rows:
        if image.group:
            splits[image.group].add(image.split)
    placed = [(source, replace(image, split=_split(image, splits))) for source, image in rows]
    kept = _apart([(source, _named(image)) for source, image in placed])
    for source, image in kept:
        target = out / image.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(source)
    images = [image for _, image in kept]
    with (out / INDEX_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "class", "file", "group"])
        writer.writerows([i.split, i.class_name, Path(i.path).name, i.group] for i in images)
    write_manifest(images, out)
    return images


def _split(image: ManifestImage, splits: dict[str, set[str]]) -> str:
    """The split of its patient or scan: that of training wins, since what was once learnt from cannot be a test."""
    of_group = splits.get(image.group, {image.split})
    return next(split for split in ("train", "valid", "test") if split in of_group or split == image.split)


def _named(image: ManifestImage) -> ManifestImage:
    return replace(image, path=f"{image.split}/{image.class_name}/{image.path}")


def _apart(rows: list[tuple[Path, ManifestImage]]) -> list[tuple[Path, ManifestImage]]:
    held = [image.fingerprint for _, image in rows if image.split != "train" and image.fingerprint]
    train = [image for _, image in rows if image.split == "train" and image.fingerprint]
    like = {train[index].path for index, _ in near_pairs([image.fingerprint for image in train], held)}
    for path in sorted(like):
        _log.info("left out of training, it looks like an image of another split: %s", path)
    return [(source, image) for source, image in rows if image.path not in like]
