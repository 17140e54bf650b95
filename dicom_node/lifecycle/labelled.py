"""Labelled images that are uploaded to train on: unpacked within limits, checked by training's own checks, kept."""

from __future__ import annotations

import json
import re
import secrets
import shutil
import stat
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import Session

from dicom_node.database import now
from dicom_node.lifecycle.decisions import NotPossible, record_change
from dicom_node.lifecycle.trainer import TrainingFailed, run_training
from dicom_node.lifecycle.versions import OPEN
from dicom_node.tables import LabelledDataRow, ModelVersionRow

MOST_FILES = 20_000
MOST_MEGABYTES = 4096
_IMAGES = frozenset({".png", ".jpg", ".jpeg"})
_INDEX = "index.csv"
_IGNORED = re.compile(r"(^|/)(\.[^./]|__MACOSX/|Thumbs\.db$|desktop\.ini$)")
NamedContent = tuple[str, bytes]


class NotTaken(Exception):
    """An upload is refused as a whole, and nothing of it is kept; the text says why."""


def unpacked(files: Iterable[NamedContent]) -> Iterator[NamedContent]:
    """The files of an upload: zip archives by their content, everything else as it is, by their paths.

    Raises:
        NotTaken: a path leads out of the upload, a file is neither image nor index.csv, or there is too much.
    """
    count, size = 0, 0
    for name, content in _flat(files):
        count, size = count + 1, size + len(content)
        if count > MOST_FILES or size > MOST_MEGABYTES << 20:
            raise NotTaken(f"An upload may hold {MOST_FILES} files and {MOST_MEGABYTES} MB once unpacked.")
        yield name, content


def keep_upload(files: Iterable[NamedContent], bundle: Path, folder: Path) -> tuple[str, dict[str, Any]]:
    """Write an upload into a new folder below ``folder`` and let training prepare and check it.

    Returns the new folder's name, and training's report.

    Raises:
        NotTaken: it is refused; nothing is left.
        NotInstalled: training is not installed on this host.
    """
    name = secrets.token_hex(8)
    place = folder / name
    try:
        for path, content in unpacked(files):
            target = place / "files" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        if not (place / "files").is_dir():
            raise NotTaken("The upload holds no images: put them into a folder for each class.")
        report = _check(bundle, place)
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, FileExistsError, NotADirectoryError) as error:
        shutil.rmtree(place, ignore_errors=True)
        raise NotTaken(f"The archive cannot be unpacked: {error}.") from None
    except BaseException:
        shutil.rmtree(place, ignore_errors=True)
        raise
    return name, report


def add_labelled_data(session: Session, model: str, name: str, folder: str, report: dict[str, Any], by: str) -> int:
    """Write down what was uploaded and passed; returns its number."""
    notes = [objection["sentence"] for objection in report["objections"]]
    row = LabelledDataRow(
        model=model, name=name, folder=folder, images=report["images"], notes=notes, uploaded_by=by, uploaded_at=now()
    )
    session.add(row)
    session.flush()
    count = sum(sum(classes.values()) for classes in report["images"].values())
    record_change(session, model, by, f"Labelled images were uploaded: {name}, {count} images.")
    return row.id


def delete_labelled_data(session: Session, model: str, data_id: int, folder: Path, by: str, reason: str) -> str:
    """Remove an upload below ``folder``, files first: what could not be removed stays listed, to be deleted again.

    Versions that were trained on it stay as they are. Returns the line of history.

    Raises:
        NotPossible: there is no such upload for this model, or a version is being trained on it.
        OSError: the files cannot be removed.
    """
    row = session.get(LabelledDataRow, data_id, with_for_update=True)
    if row is None or row.model != model:
        raise NotPossible(f"{model} has no labelled data with the number {data_id}.")
    query = sa.select(ModelVersionRow).where(ModelVersionRow.model == model, ModelVersionRow.state.in_(OPEN))
    for version in session.scalars(query):
        if data_id in version.data:
            raise NotPossible(f"Version {version.version} is being trained on it; wait for it, or cancel that.")
    with suppress(FileNotFoundError):
        shutil.rmtree(folder / row.folder)
    session.delete(row)
    count = sum(sum(classes.values()) for classes in row.images.values())
    return record_change(session, model, by, f"Labelled images were deleted: {row.name}, {count} images. {reason}")


def _flat(files: Iterable[NamedContent]) -> Iterator[NamedContent]:
    for name, content in files:
        if PurePosixPath(name).suffix.lower() == ".zip":
            yield from _members(content)
        elif not _IGNORED.search(name):
            yield _safe(name), content


def _members(archive: bytes) -> Iterator[NamedContent]:
    with zipfile.ZipFile(BytesIO(archive)) as opened:
        left = MOST_MEGABYTES << 20
        for member in opened.infolist():
            if member.is_dir() or _IGNORED.search(member.filename):
                continue
            if stat.S_ISLNK(member.external_attr >> 16):
                raise NotTaken(f"{member.filename}: a link; put the image itself into the archive.")
            name = _safe(member.filename)
            with opened.open(member) as file:
                content = file.read(left + 1)  # what the archive says of sizes is not believed
            left -= len(content)
            if left < 0:
                raise NotTaken(f"An upload may hold {MOST_MEGABYTES} MB once unpacked.")
            yield name, content


def _safe(name: str) -> str:
    """A path within the upload.

    Raises:
        NotTaken: it leads out of it, or is of no kind that is taken.
    """
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or "\0" in name or not path.parts:
        raise NotTaken(f"{name}: a path that leads out of the upload.")
    if path.suffix.lower() not in _IMAGES and path.name != _INDEX:
        raise NotTaken(f"{name}: neither PNG nor JPEG nor index.csv. Leave it out.")
    return str(path)


def _check(bundle: Path, place: Path) -> dict[str, Any]:
    of = ["--model", bundle.name, "--models", str(bundle.parent)]
    try:
        data, prepared = _root(place / "files"), place / "prepared"
        run_training(
            ["admit", *of, "--data", str(data), "--out", str(prepared)], place / "log.txt", somebody_waits=True
        )
    except TrainingFailed as error:
        raise NotTaken(_why(place) or str(error).replace(f"{place}/", "")) from None
    return _report(place)


def _root(files: Path) -> Path:
    """The folder that index.csv lies in, where an archive holds everything in a folder of its own."""
    found = sorted(files.rglob(_INDEX), key=lambda path: len(path.parts))
    return found[0].parent if found else files


def _why(place: Path) -> str:
    try:
        objections = _report(place)["objections"]
    except (OSError, ValueError):
        return ""
    refused = [objection for objection in objections if objection["refused"]]
    return " ".join(f"{one['sentence']} ({', '.join(one['images'][:3])})".replace(" ()", "") for one in refused)


def _report(place: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((place / "data_report.json").read_text(encoding="utf-8"))
    return report
