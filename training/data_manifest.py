"""The manifest of a prepared data folder: one row an image, with what identifies it."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from training.labelled_images import DataError

MANIFEST_FILE = "manifest.csv"


@dataclass(frozen=True, slots=True)
class ManifestImage:
    """One image of a prepared folder.

    ``path`` is relative to the folder. ``sha256`` is of the file, ``fingerprint`` of what it shows (see
    ``training.fingerprint``). ``group`` is its patient or scan, empty where unknown. An image that cannot be
    read has a ``problem`` in words, no size and no fingerprint.
    """

    path: str
    class_name: str
    split: str
    group: str
    sha256: str
    width: int
    height: int
    fingerprint: str
    problem: str = ""


def write_manifest(images: Sequence[ManifestImage], folder: Path) -> None:
    """Write ``manifest.csv`` into the folder."""
    names = [field.name for field in fields(ManifestImage)]
    with (folder / MANIFEST_FILE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(image) for image in images)


def read_manifest(folder: Path) -> list[ManifestImage]:
    """Read a prepared folder's ``manifest.csv``.

    Raises:
        DataError: there is none, or it was not written by ``ingest``.
    """
    path = folder / MANIFEST_FILE
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        return [_image(row) for row in rows]
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}. Run `python -m training ingest` first.") from error
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: not as `python -m training ingest` writes it: {error}") from error


def _image(row: Mapping[str, str]) -> ManifestImage:
    return ManifestImage(
        row["path"],
        row["class_name"],
        row["split"],
        row["group"],
        row["sha256"],
        int(row["width"]),
        int(row["height"]),
        row["fingerprint"],
        row["problem"],
    )
