"""From a data set as it comes to one prepared tree: split, class, image, and a manifest of them all."""

from __future__ import annotations

import csv
import hashlib
import logging
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.inference.definition import BundleDefinition
from training.configuration import load_training_configuration
from training.data_manifest import MANIFEST_FILE, ManifestImage, write_manifest
from training.dicom_table import extract_dicom
from training.fingerprint import fingerprint, near_pairs
from training.labelled_images import INDEX_FILE, DataError, LabelledImage
from training.layouts import FoundImage, find_images
from training.splits import hold_out

PIXELS_FOLDER = "pixels"
SPLIT_ORDER = ("train", "valid", "test")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """What the layout of a data set does not say.

    ``test_fraction`` is held out, in whole groups, where the data have no test part. ``drop_near_duplicates``
    leaves images out of training (and of validation) that look like one of the test (or validation) part.
    """

    group_pattern: str | None = None
    skipped_folders: tuple[str, ...] = ()
    test_fraction: float = 0.2
    seed: int = 0
    drop_near_duplicates: bool = False


def ingest(bundle_folder: Path, data: Path, out: Path, options: IngestOptions) -> list[ManifestImage]:
    """Prepare a data set for a bundle.

    Writes into ``out``: ``train``, ``valid`` and ``test`` with a folder per class of links to the images
    (nothing is copied), ``index.csv`` with the groups and ``manifest.csv``; from DICOM also ``pixels``, the
    images as PNG. An ``out`` of an earlier run is replaced.

    Args:
        bundle_folder: the bundle that the images are for.
        data: a folder in one of the layouts of ``training.layouts``, or a CSV of DICOM files.
        out: a folder that is new, empty, or was made by this function.
        options: what the layout does not say.

    Raises:
        DataError: the data are not laid out as expected, or ``out`` holds something else.
    """
    definition = BundleDefinition.load(bundle_folder)
    classes = definition.manifest.classes
    _clear(out)
    if data.suffix.lower() == ".csv":
        found, left_out = extract_dicom(data, definition, out / PIXELS_FOLDER)
        for sentence in left_out:
            _log.warning("%s", sentence)
        if not found:
            raise DataError(f"{data}: none of its DICOM files can be used.")
    else:
        aliases = load_training_configuration(bundle_folder).class_folders
        found = find_images(data, classes, aliases, options.group_pattern, options.skipped_folders)
    found = _with_splits(found, classes, options)
    bar = tqdm(found, desc="reading", unit="image", mininterval=5, file=sys.stderr)
    described = [(image, _describe(image)) for image in bar]
    if options.drop_near_duplicates:
        described = _without_near_duplicates(described)
    for image, row in described:
        _link(image, out / row.path)
    rows = [row for _, row in described]
    _write_index(rows, out)
    write_manifest(rows, out)
    return rows


def _clear(out: Path) -> None:
    if not out.exists() or not any(out.iterdir()):
        out.mkdir(parents=True, exist_ok=True)
        return
    ours = {*SPLIT_ORDER, PIXELS_FOLDER, INDEX_FILE, MANIFEST_FILE}
    strangers = sorted(path.name for path in out.iterdir() if path.name not in ours)
    if strangers or not (out / MANIFEST_FILE).is_file():
        raise DataError(f"{out}: is not empty and was not made by ingest; name a new folder with --out.")
    for path in out.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _with_splits(found: Sequence[FoundImage], classes: Sequence[str], options: IngestOptions) -> list[FoundImage]:
    """Give every image a split: those of a layout without any go to train, and a part of them, by group, to test."""
    if any(image.split == "test" for image in found):
        return [replace(image, split=image.split or "train") for image in found]
    by_path = {str(image.path): image for image in found}
    open_ones = [
        LabelledImage(image.path, classes.index(image.class_name), image.group or str(image.path))
        for image in found
        if image.split != "valid"
    ]
    try:
        _, test = hold_out(open_ones, options.test_fraction, options.seed)
    except ValueError as error:
        raise DataError(f"{len(open_ones)} images are too few to hold a test part out of: {error}") from error
    held_out = {str(image.path) for image in test}
    _log.info("the data have no test part: %d of %d images are held out as one", len(test), len(found))
    return [
        replace(image, split="test" if path in held_out else image.split or "train") for path, image in by_path.items()
    ]


def _describe(image: FoundImage) -> ManifestImage:
    try:
        digest = hashlib.sha256(image.path.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{image.path}: cannot be read: {error.strerror}") from error
    path = f"{image.split}/{image.class_name}/{image.name}"
    try:
        grey = read_plain_image(image.path).pixels[0]
    except UnreadableImage as error:
        return ManifestImage(path, image.class_name, image.split, image.group, digest, 0, 0, "", error.reason)
    rows, columns = grey.shape[:2]
    return ManifestImage(path, image.class_name, image.split, image.group, digest, columns, rows, fingerprint(grey))


def _without_near_duplicates(
    described: Sequence[tuple[FoundImage, ManifestImage]],
) -> list[tuple[FoundImage, ManifestImage]]:
    """Keep the test part whole: what looks like it leaves validation and training, what looks like validation too."""
    readable = [pair for pair in described if pair[1].fingerprint]
    dropped: set[str] = set()
    for kept_split, dropped_splits in (("test", ("train", "valid")), ("valid", ("train",))):
        kept = [row.fingerprint for _, row in readable if row.split == kept_split and row.path not in dropped]
        candidates = [row for _, row in readable if row.split in dropped_splits]
        pairs = near_pairs([row.fingerprint for row in candidates], kept)
        dropped |= {candidates[index].path for index, _ in pairs}
    for path in sorted(dropped):
        _log.info("left out, it looks like an image of another split: %s", path)
    return [pair for pair in described if pair[1].path not in dropped]


def _link(image: FoundImage, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.symlink_to(image.path.resolve())
    except FileExistsError:
        raise DataError(f"{image.path}: a second image of this name, split and class; rename one.") from None


def _write_index(rows: Sequence[ManifestImage], out: Path) -> None:
    with (out / INDEX_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["split", "class", "file", "group"])
        writer.writerows([row.split, row.class_name, Path(row.path).name, row.group] for row in rows)
