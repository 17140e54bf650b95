"""Labelled DICOM files, listed in a table, to the plain images that training reads."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from dicom_node.domain import ImagePlane, ImageStack
from dicom_node.imaging.decoding import read_header
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.definition import BundleDefinition
from dicom_node.manifest import ImageKind
from training.labelled_images import DataError
from training.layouts import SPLITS, FoundImage

READABLE_KINDS = (ImageKind.RADIOGRAPH, ImageKind.CT)


@dataclass(frozen=True, slots=True)
class _Labelled:
    """One line of the table: a DICOM file, or a folder of those of one series."""

    files: tuple[Path, ...]
    class_name: str
    split: str
    group: str


@dataclass(slots=True)
class _Patients:
    """Numbers patients in the order in which they come, so that no Patient ID is written anywhere."""

    numbers: dict[str, int]

    def group_of(self, file: Path) -> str:
        header = read_header(file, ["PatientID", "StudyInstanceUID"])
        if not header.get("PatientID"):
            return str(header.get("StudyInstanceUID", ""))
        number = self.numbers.setdefault(str(header.PatientID), len(self.numbers) + 1)
        return f"patient-{number:05d}"


def extract_dicom(table: Path, definition: BundleDefinition, pixels: Path) -> tuple[list[FoundImage], list[str]]:
    """Write every image of the table as a 16-bit grey PNG below ``pixels``.

    The pixels are what the node would show the model: read by ``dicom_node.imaging``, CT through the bundle's
    window. File names are SOP Instance UIDs; nothing of the patient is kept, save what is burned into the pixels.

    Args:
        table: CSV with the columns path (a file or a folder, absolute or relative to the table) and class; and,
            if wanted, split (train, valid, test) and group (the default is the patient, by number).
        definition: the bundle that the images are for.
        pixels: folder for the PNG files.

    Returns:
        The images, and a sentence for each file that was left out.

    Raises:
        DataError: the table is not as described, or the bundle reads slides.
    """
    if definition.manifest.kind not in READABLE_KINDS:
        raise DataError(f"{definition.name}: tables of DICOM files are read for radiographs and CT; give tiles.")
    pixels.mkdir(parents=True, exist_ok=True)
    patients = _Patients({})
    found: list[FoundImage] = []
    left_out: list[str] = []
    for line in _lines(table, definition.manifest.classes):
        try:
            group = line.group or patients.group_of(line.files[0])
        except UnreadableImage as error:
            left_out.append(str(error))
            continue
        read = read_stacks(definition.manifest.kind, line.files)
        left_out += [*read.undecodable, *read.not_applicable]
        for stack in read.stacks:
            paths = _write(stack, definition, pixels)
            found += [FoundImage(path, path.name, line.class_name, line.split, group) for path in paths]
    return found, left_out


def _write(stack: ImageStack, definition: BundleDefinition, pixels: Path) -> Iterator[Path]:
    preprocessing = definition.preprocessing()
    for index, plane in enumerate(stack.planes):
        grey = preprocessing.display_grey(stack, index)
        path = pixels / f"{_name(plane)}.png"
        Image.fromarray(np.rint(grey * np.float32(65535)).astype(np.uint16)).save(path)
        yield path


def _name(plane: ImagePlane) -> str:
    frame = "" if plane.frame_number is None else f"-{plane.frame_number:04d}"
    return f"{plane.sop_instance_uid}{frame}"


def _lines(table: Path, classes: Sequence[str]) -> Iterator[_Labelled]:
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise DataError(f"{table}: cannot be read: {error.strerror}") from error
    if not rows or not {"path", "class"} <= rows[0].keys():
        raise DataError(f"{table}: needs a header with path and class (split and group are optional), and rows.")
    for number, row in enumerate(rows, start=2):
        split = (row.get("split") or "").strip().lower()
        if row["class"] not in classes:
            raise DataError(f"{table}, line {number}: {row['class']!r} is not a class ({', '.join(classes)}).")
        if split and split not in SPLITS:
            raise DataError(f"{table}, line {number}: {split!r} is not a split (train, valid, test).")
        path = table.parent / row["path"]
        files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
        if not files:
            raise DataError(f"{table}, line {number}: the folder {path} is empty.")
        yield _Labelled(tuple(files), row["class"], SPLITS.get(split, ""), row.get("group") or "")
