"""A study or an image that somebody tries a model on: read in memory, shown with its heat maps, and forgotten."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image
from pydicom import Dataset

from dicom_node.domain import Evaluation, Finding, ImageStack, NotApplicable, Reading
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.models import Models
from dicom_node.inference.reader import ModelReader
from dicom_node.part10 import UnreadableHeader, read_header
from dicom_node.results.display import display_image, fitted_size, with_heat
from dicom_node.studies.headers import SeriesHeaders
from dicom_node.studies.selection import select_series
from dicom_node.web.formats import as_file, image_format

_PICTURE = 640
_SHOWN = 3


class NotTried(Exception):
    """What was sent cannot be tried as a whole; the text says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """An image, and where the model looked on it, as PNG data addresses; ``heat`` is None where there is nothing."""

    image: str
    heat: str | None


@dataclass(frozen=True, slots=True)
class TriedFinding:
    """One question and its answer, held against the operating point in use."""

    label: str
    probability: float
    threshold: float
    operating_point: str
    evaluation: Evaluation
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class TriedReading:
    """What one model says of one series, or of one image."""

    title: str
    model: str
    version: str
    images: int
    what: str
    probabilities: dict[str, float]
    findings: tuple[TriedFinding, ...]
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Trial:
    """What became of everything that was sent: readings, and in sentences why the rest was not read."""

    readings: tuple[TriedReading, ...]
    not_read: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Job:
    reader: ModelReader
    stack: ImageStack
    what: str
    series_instance_uid: str


def try_out(models: Models, files: Sequence[tuple[str, bytes]], model: str | None) -> Trial:
    """Read files of one study, or one plain image.

    Args:
        models: those that are loaded.
        files: name and content; the names are only repeated.
        model: by name; None leaves the choice to the models' rules.

    Raises:
        NotTried: it is none of both, or there is no such model.
    """
    if model is not None and model not in available(models):
        raise NotTried(f"No model named {model} is loaded.")
    kinds = {image_format(content) for _, content in files}
    if not files:
        raise NotTried("Choose a DICOM file, the folder of a study, or a PNG or JPEG.")
    if kinds & {"PNG", "JPEG"}:
        if len(files) > 1:
            raise NotTried("Try PNG and JPEG one at a time; several files are for the DICOM files of one study.")
        jobs, not_read = [_plain_job(models, files[0], model)], list[str]()
    else:
        jobs, not_read = _dicom_jobs(models, [content for _, content in files], model)
    readings = []
    for job in jobs:
        try:
            readings.append(_tried(job, job.reader.read(job.stack, job.series_instance_uid)))
        except (NotApplicable, UnreadableImage) as error:
            not_read.append(f"{job.what}: {error}")
    return Trial(tuple(readings), tuple(dict.fromkeys(not_read)))


def available(models: Models) -> dict[str, str]:
    """The titles of the models that can be tried, by name."""
    return {
        name: manifest.title
        for name, manifest in models.manifests.items()
        if manifest.enabled and name not in models.unavailable
    }


def _plain_job(models: Models, file: tuple[str, bytes], model: str | None) -> _Job:
    if model is None:
        raise NotTried("A PNG or JPEG does not tell which model reads it: choose one.")
    name, content = file
    try:
        with as_file(content) as path:
            return _Job(models.reader(model), read_plain_image(path), name.rpartition("/")[2], "")
    except UnreadableImage as error:
        raise NotTried(f"The image cannot be read: {error.reason}.") from None


def _dicom_jobs(models: Models, contents: Sequence[bytes], model: str | None) -> tuple[list[_Job], list[str]]:
    with ExitStack() as stack:
        paths = [stack.enter_context(as_file(content)) for content in contents]
        headers, not_read = _headers(paths)
        if not headers:
            raise NotTried("None of the files is a DICOM file, PNG or JPEG that can be read.")
        if len({str(header.get("StudyInstanceUID", "")) for _, header in headers}) > 1:
            raise NotTried("The files are of more than one study: try one at a time.")
        jobs: list[_Job] = []
        for series, name, chosen in _choose(models, headers, model, not_read):
            read = read_stacks(models.manifests[name].kind, chosen)
            not_read += [*read.undecodable, *read.not_applicable]
            jobs += [_Job(models.reader(name), found, series, "") for found in read.stacks]
    return jobs, not_read


def _headers(paths: Sequence[Path]) -> tuple[list[tuple[Path, Dataset]], list[str]]:
    found, broken = [], 0
    for path in paths:
        try:
            found.append((path, read_header(path)))
        except UnreadableHeader:
            broken += 1
    return found, [f"{broken} of {len(paths)} files are no DICOM files, or are broken."] if broken else []


def _choose(
    models: Models, headers: Sequence[tuple[Path, Dataset]], model: str | None, not_read: list[str]
) -> Iterator[tuple[str, str, list[Path]]]:
    """Which model reads which files, with the series in words; every series where one model was chosen."""
    series: dict[str, list[tuple[Path, Dataset]]] = {}
    for path, header in headers:
        series.setdefault(str(header.get("SeriesInstanceUID", "")), []).append((path, header))
    if model is not None:
        for files in series.values():
            yield _in_words(files), model, [path for path, _ in files]
        return
    manifests = {name: models.manifests[name] for name in available(models)}
    study = [SeriesHeaders(uid, tuple(header for _, header in files)) for uid, files in series.items()]
    for decision in select_series(study, manifests):
        files = series[decision.series_instance_uid]
        if decision.model is None:
            not_read.append(f"{_in_words(files)}: {decision.reason}")
            continue
        wanted = set(decision.sop_instance_uids)
        yield (
            _in_words(files),
            decision.model,
            [path for path, header in files if str(header.get("SOPInstanceUID", "")) in wanted],
        )


def _in_words(files: Sequence[tuple[Path, Dataset]]) -> str:
    header = files[0][1]
    number, text = header.get("SeriesNumber"), str(header.get("SeriesDescription", "") or "")
    return f"Series {number if number is not None else 'without number'}{f' ({text})' if text else ''}"


def _tried(job: _Job, reading: Reading) -> TriedReading:
    return TriedReading(
        title=reading.manifest.title,
        model=reading.model.name,
        version=reading.model.version,
        images=len(job.stack.planes),
        what=job.what,
        probabilities=dict(reading.class_probabilities),
        findings=tuple(_finding(job.stack, reading, finding) for finding in reading.findings),
        notes=reading.notes,
        seconds=reading.seconds,
    )


def _finding(stack: ImageStack, reading: Reading, finding: Finding) -> TriedFinding:
    pictures = []
    for key in finding.key_images[:_SHOWN]:
        shown = display_image(stack, key.index, reading.manifest.input.window)
        shown = shown.resize(fitted_size(stack.planes[key.index], _PICTURE, _PICTURE), Image.Resampling.LANCZOS)
        heat = None if key.heat_map is None else _address(with_heat(shown, key.heat_map))
        pictures.append(Picture(_address(shown), heat))
    return TriedFinding(
        finding.label,
        finding.probability,
        finding.operating_point.threshold,
        finding.operating_point_name,
        finding.evaluation,
        tuple(pictures),
    )


def _address(image: Image.Image) -> str:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"
