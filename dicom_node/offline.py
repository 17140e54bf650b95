"""Analysis and scoring of files without server, database or network: for trying a model on a site's data."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

import pydicom
from pydicom.errors import InvalidDicomError

from dicom_node.analysis import read_series
from dicom_node.config import Config
from dicom_node.database import now
from dicom_node.deliver.sender import is_dicom
from dicom_node.domain import AnalysisIdentity, Instance, NotApplicable, Reading, Series, SeriesDecision, Study
from dicom_node.imaging.errors import UnreadableImage
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.backends.choice import Backend
from dicom_node.inference.definition import BundleError
from dicom_node.inference.models import Models
from dicom_node.inference.reader import ModelReader
from dicom_node.results.file import write_result
from dicom_node.results.identity import input_digest
from dicom_node.results.options import ResultOptions, options_for
from dicom_node.studies.headers import read_series_headers
from dicom_node.studies.selection import select_series


class OfflineError(Exception):
    """The command cannot be carried out; the text says what to change."""


def _open_models(config: Config, only: str | None) -> Models:
    try:
        models = Models(config.node.models_folder, Backend.configured(config), config.node.bundle_digests)
    except BundleError as error:
        raise OfflineError(str(error)) from error
    if only is not None and only not in models.manifests:
        installed = ", ".join(models.manifests) or "none"
        raise OfflineError(f"no model named {only} in {config.node.models_folder.absolute()} (installed: {installed})")
    models.load(only)
    if only is not None and only in models.unavailable:
        raise OfflineError(f"{only}: {models.unavailable[only]}")
    return models


def analyze_files(
    config: Config, files: Sequence[Path], out: Path, only: str | None, destination: str | None
) -> tuple[list[str], int]:
    """Run the stages on DICOM files and write the result objects below ``out``, a folder a study.

    ``only`` names the one model to use; ``destination`` the peer whose choice of objects is made.

    Returns what happened in sentences, and how many objects were made.

    Raises:
        OfflineError: there is no DICOM file, no such model, or the folder cannot be written.
    """
    options = _options(config, destination)
    models = _open_models(config, only)
    studies, lines = _studies(files)
    if not studies:
        raise OfflineError("no DICOM file among the paths given")
    made = 0
    for study in studies:
        lines.append(f"Study {study.study_instance_uid}:")
        manifests = {name: m for name, m in models.manifests.items() if only in (None, name)}
        decisions = select_series([read_series_headers(series) for series in study.series], manifests)
        identity = AnalysisIdentity(
            study.study_instance_uid, input_digest(i.sop_instance_uid for i in study.instances), now()
        )
        for decision in decisions:
            lines.append(f"  Series {decision.series_instance_uid}: {decision.reason}")
            if decision.model is not None:
                made += _analyze_series(study, decision, models, identity, options, out, lines)
    return lines, made


def _analyze_series(
    study: Study,
    decision: SeriesDecision,
    models: Models,
    identity: AnalysisIdentity,
    options: ResultOptions,
    out: Path,
    lines: list[str],
) -> int:
    if decision.model is None:
        return 0
    if decision.model in models.unavailable:
        lines.append(f"    {decision.model} is not available: {models.unavailable[decision.model]}")
        return 0
    wanted = set(decision.sop_instance_uids)
    instances = [instance for instance in study.instances if instance.sop_instance_uid in wanted]
    outcome = read_series(instances, models.reader(decision.model), identity, [options])
    lines += [f"    {text}" for text in (*outcome.problems, *outcome.not_applicable)]
    made = 0
    for reading in outcome.readings:
        lines += [f"    {line}" for line in _findings(reading.reading)]
        for result in reading.objects:
            path = out / study.study_instance_uid / f"{result.kind}-{result.dataset.SOPInstanceUID}.dcm"
            try:
                write_result(result.dataset, path)
            except OSError as error:
                raise OfflineError(f"{path}: cannot be written: {error.strerror}") from error
            lines.append(f"    wrote {path}")
            made += 1
    return made


def _options(config: Config, destination: str | None) -> ResultOptions:
    if destination is None:
        return ResultOptions()
    for peer in config.destinations:
        if peer.name == destination:
            return options_for(peer, peer.results)
    known = ", ".join(peer.name for peer in config.destinations) or "none"
    raise OfflineError(f"no peer named {destination} receives results (configured: {known})")


def _findings(reading: Reading) -> list[str]:
    return [
        f"{finding.label}: {finding.evaluation}, probability {finding.probability:.3f} "
        f"({finding.operating_point_name} threshold {finding.operating_point.threshold:.3f})"
        for finding in reading.findings
    ]


def _studies(files: Sequence[Path]) -> tuple[list[Study], list[str]]:
    """The studies among ``files``, and a sentence for each file that is none of theirs."""
    found: dict[str, dict[str, list[Instance]]] = {}
    lines: list[str] = []
    for path in files:
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            instance = Instance(
                study_instance_uid=str(header.StudyInstanceUID),
                series_instance_uid=str(header.SeriesInstanceUID),
                sop_instance_uid=str(header.SOPInstanceUID),
                sop_class_uid=str(header.SOPClassUID),
                transfer_syntax_uid=str(header.file_meta.TransferSyntaxUID),
                modality=str(header.get("Modality", "")),
                path=path,
            )
        except (InvalidDicomError, AttributeError, OSError, ValueError):
            lines.append(f"{path}: not a DICOM file, left out")
            continue
        found.setdefault(instance.study_instance_uid, {}).setdefault(instance.series_instance_uid, []).append(instance)
    studies = [
        Study(uid, tuple(Series(series_uid, held[0].modality, tuple(held)) for series_uid, held in series.items()))
        for uid, series in found.items()
    ]
    return studies, lines


def predict_files(config: Config, model: str, files: Sequence[Path], table: Path, progress: Callable[[], None]) -> int:
    """Score single images with one model and write a row a file.

    The columns are ``file``, one a class in the bundle's order and named as it names them, and ``refused``: a file
    that cannot be scored has empty probabilities and the reason there. Returns how many were refused.

    Raises:
        OfflineError: there is no such model, or the table cannot be written.
    """
    models = _open_models(config, model)
    reader = models.reader(model)
    classes = reader.bundle.manifest.classes
    temporary = table.with_name(f".{table.name}.part")
    refused = 0
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", *classes, "refused"])
            for path in files:
                try:
                    probabilities = _predict(path, reader)
                    writer.writerow([str(path), *(f"{probabilities[name]:.6f}" for name in classes), ""])
                except (UnreadableImage, NotApplicable) as error:
                    refused += 1
                    writer.writerow([str(path), *("" for _ in classes), str(error)])
                progress()
        temporary.replace(table)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OfflineError(f"{table}: cannot be written: {error.strerror}") from error
    return refused


def _predict(path: Path, reader: ModelReader) -> dict[str, float]:
    if not is_dicom(path):
        return reader.class_probabilities(read_plain_image(path))
    read = read_stacks(reader.bundle.manifest.kind, [path])
    if not read.stacks:
        raise NotApplicable(" ".join((*read.undecodable, *read.not_applicable)))
    return reader.class_probabilities(read.stacks[0])
