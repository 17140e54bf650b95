"""Predictions for single images that arrive over HTTP: decoded in memory, read by a warm model, never stored."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from pydantic import BaseModel

from dicom_node.domain import Evaluation, FloatArray, ImageStack, NotApplicable
from dicom_node.imaging.decoding import read_header
from dicom_node.imaging.plain_image import read_plain_image
from dicom_node.imaging.stacks import read_stacks
from dicom_node.inference.models import Models
from dicom_node.inference.operating_point import evaluate
from dicom_node.inference.reader import ModelReader
from dicom_node.studies.headers import SeriesHeaders
from dicom_node.studies.selection import select_series
from dicom_node.web.formats import as_file, image_format
from dicom_node.web.trial import Trial, available, try_out

MAXIMUM_WAITING = 32
"""Requests that wait for the model; a service that takes more would only answer all of them too late."""

T = TypeVar("T")


class UnknownModel(Exception):
    """No model of that name is loaded; the text says which are."""


class Busy(Exception):
    """As many requests as are let in wait already."""


class PredictedFinding(BaseModel):
    """One question of the model and its answer, held against the operating point.

    ``heat_map`` is a grey PNG on the image's own pixels, base64, where it was asked for and the finding is not absent.
    """

    name: str
    label: str
    probability: float
    operating_point: str
    threshold: float
    decision: Evaluation
    heat_map: str | None = None


class Prediction(BaseModel):
    """What a model says of one image. ``probabilities`` are calibrated, one a class."""

    model: str
    version: str
    weights_digest: str
    probabilities: dict[str, float]
    findings: list[PredictedFinding]
    notes: list[str]


class Predictor:
    """Owns the threads in which images are decoded and read, and lets only so many requests wait for them.

    The model has one thread, since it uses every core itself; images are decoded beside it.
    """

    def __init__(self, models: Models, maximum_waiting: int = MAXIMUM_WAITING) -> None:
        self._models = models
        self._maximum = maximum_waiting
        self._waiting = 0
        self._decoders = ThreadPoolExecutor(2, "decode")
        self._reader = ThreadPoolExecutor(1, "predict")

    async def predict(self, content: bytes, model: str | None, *, heat_map: bool) -> Prediction:
        """Read one image.

        Args:
            content: a DICOM Part 10 file, PNG or JPEG.
            model: by name; None leaves the choice to the models' rules for the DICOM header, or to the only model.
            heat_map: whether to show where the model looked; takes several times as long.

        Raises:
            Busy: too many requests wait already.
            UnknownFormat: the bytes are none of the three formats.
            UnknownModel: no model of that name is loaded.
            UnreadableImage: the image is broken.
            NotApplicable: no model reads such an image; the text says why.
        """
        if self._waiting >= self._maximum:
            raise Busy
        self._waiting += 1
        try:
            reader, stack = await self._in(self._decoders, lambda: self._decode(content, model))
            return await self._in(self._reader, lambda: _explain(reader, stack) if heat_map else _score(reader, stack))
        finally:
            self._waiting -= 1

    @property
    def models(self) -> dict[str, str]:
        """The titles of the models that can be tried, by name."""
        return available(self._models)

    async def try_out(self, files: Sequence[tuple[str, bytes]], model: str | None) -> Trial:
        """Read the files of one study, or one plain image, as ``trial.try_out`` does, in the model's turn.

        Raises:
            Busy: too many requests wait already.
            NotTried: it is none of both, or there is no such model.
        """
        if self._waiting >= self._maximum:
            raise Busy
        self._waiting += 1
        try:
            return await self._in(self._reader, lambda: try_out(self._models, files, model))
        finally:
            self._waiting -= 1

    @staticmethod
    async def _in(executor: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(executor, work)

    def _decode(self, content: bytes, model: str | None) -> tuple[ModelReader, ImageStack]:
        known = image_format(content)
        with as_file(content) as path:
            if known != "DICOM":
                return self._model(model or self._only_model()), read_plain_image(path)
            reader = self._model(model or self._chosen_model(path))
            read = read_stacks(reader.bundle.manifest.kind, [path])
        if not read.stacks:
            raise NotApplicable(" ".join((*read.undecodable, *read.not_applicable)))
        return reader, read.stacks[0]

    def _model(self, name: str) -> ModelReader:
        try:
            return self._models.reader(name)
        except KeyError:
            raise UnknownModel(f"No model named {name} is loaded; there are: {', '.join(self._loaded())}.") from None

    def _loaded(self) -> list[str]:
        return [
            name for name, m in self._models.manifests.items() if m.enabled and name not in self._models.unavailable
        ]

    def _only_model(self) -> str:
        loaded = self._loaded()
        if len(loaded) != 1:
            raise NotApplicable(f"A plain image does not tell which model reads it; name one of {', '.join(loaded)}.")
        return loaded[0]

    def _chosen_model(self, path: Path) -> str:
        header = read_header(path)
        manifests = {name: self._models.manifests[name] for name in self._loaded()}
        decisions = select_series([SeriesHeaders(str(header.get("SeriesInstanceUID", "")), (header,))], manifests)
        for decision in decisions:
            if decision.model is not None:
                return decision.model
        raise NotApplicable(" ".join(decision.reason for decision in decisions) or "The file holds no image.")


def _score(reader: ModelReader, stack: ImageStack) -> Prediction:
    """The probabilities alone: one pass through the network."""
    probabilities = reader.class_probabilities(stack)
    findings = []
    for definition in reader.bundle.manifest.findings:
        point = definition.operating_points[definition.operating_point]
        probability = min(sum(probabilities[name] for name in definition.classes), 1.0)
        findings.append(
            PredictedFinding(
                name=definition.name,
                label=definition.label,
                probability=probability,
                operating_point=definition.operating_point,
                threshold=point.threshold,
                decision=evaluate(probability, point),
            )
        )
    return _prediction(reader, probabilities, findings, stack.notes)


def _explain(reader: ModelReader, stack: ImageStack) -> Prediction:
    """The whole reading, as a study would get it, with heat maps."""
    reading = reader.read(stack, "")
    findings = [
        PredictedFinding(
            name=finding.name,
            label=finding.label,
            probability=finding.probability,
            operating_point=finding.operating_point_name,
            threshold=finding.operating_point.threshold,
            decision=finding.evaluation,
            heat_map=_png(finding.key_images[0].heat_map) if finding.key_images else None,
        )
        for finding in reading.findings
    ]
    return _prediction(reader, dict(reading.class_probabilities), findings, reading.notes)


def _prediction(
    reader: ModelReader, probabilities: dict[str, float], findings: list[PredictedFinding], notes: tuple[str, ...]
) -> Prediction:
    identity = reader.bundle.identity
    return Prediction(
        model=identity.name,
        version=identity.version,
        weights_digest=identity.weights_digest,
        probabilities=probabilities,
        findings=findings,
        notes=list(notes),
    )


def _png(heat_map: FloatArray | None) -> str | None:
    if heat_map is None:
        return None
    buffer = BytesIO()
    Image.fromarray((heat_map * 255 + 0.5).astype(np.uint8)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
