"""Reads a series with one model: every image scored, the findings aggregated, held to account, and shown."""

from __future__ import annotations

import threading
import time

import numpy as np
import numpy.typing as npt

from dicom_node.domain import Evaluation, Finding, ImagePlane, ImageStack, KeyImage, NotApplicable, Reading
from dicom_node.geometry import position_along_normal
from dicom_node.inference.aggregation import Stretch, strongest_image, strongest_stretch
from dicom_node.inference.backends.residence import in_use
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.definition import BundleDefinition
from dicom_node.inference.laterality import side
from dicom_node.inference.operating_point import evaluate
from dicom_node.inference.region import outline
from dicom_node.inference.saliency import heat_map
from dicom_node.inference.scoring import ScoredImages, score_images
from dicom_node.inference.slide_reader import SlideReader
from dicom_node.manifest import FindingDefinition

DoubleArray = npt.NDArray[np.float64]

_KIND_EXTENT_MM = 30.0
"""How much of a body in one piece has to be of the model's kind: series often reach beyond the organ on both ends."""
_LEAST_OF_KIND = 0.5


class ModelReader:
    """Reads image stacks with one loaded bundle, one at a time: threads that share a reader wait for one another.

    A network runs one request at a time; two readings would mix up their answers.
    """

    def __init__(self, bundle: Bundle, turn: threading.Lock | None = None) -> None:
        self._bundle = bundle
        self._turn = turn or threading.Lock()
        self._slide_reader = SlideReader(bundle)

    def run_as(self, definition: BundleDefinition) -> ModelReader:
        """A reader with the same network whose answers are held against another manifest; the two take turns."""
        return ModelReader(self._bundle.run_as(definition), self._turn)

    @property
    def bundle(self) -> Bundle:
        """The bundle that reads."""
        return self._bundle

    def warm_up(self) -> None:
        """Run one blank image through network and Grad-CAM, so that the first study does not pay for it.

        Raises:
            BundleError: the network's output does not fit the manifest.
        """
        blank = np.zeros((1, 64, 64), dtype=np.float32)
        plane = ImagePlane(sop_instance_uid="", sop_class_uid="", rows=64, columns=64)
        score_images(self._bundle, ImageStack(pixels=blank, planes=(plane,)))
        if self._bundle.manifest.saliency is not None:
            heat_map(self._bundle, blank[0], 0)

    def class_probabilities(self, stack: ImageStack, *, of_any_kind: bool = False) -> dict[str, float]:
        """Return the calibrated probability of each class for the whole stack; of one image, simply its own.

        With ``of_any_kind`` the input gate is passed over.

        Raises:
            NotApplicable: the images are not what the model was made for.
            UnreadableImage: the tiles of a slide cannot be decoded.
            BundleError: the network's output does not fit the manifest.
        """
        with self._turn, in_use(self._bundle.network):
            if stack.slide is not None:
                return self._slide_reader.class_probabilities(stack, stack.slide)
            scored = score_images(self._bundle, stack)
            if not of_any_kind:
                self._refuse_another_kind(stack, scored)
            return self._series_classes(stack, scored.probabilities)

    def read(self, stack: ImageStack, series_instance_uid: str) -> Reading:
        """Read a series.

        Raises:
            NotApplicable: the images are not what the model was made for.
            UnreadableImage: the tiles of a slide cannot be decoded.
            BundleError: the network's output does not fit the manifest.
        """
        with self._turn, in_use(self._bundle.network):
            if stack.slide is not None:
                return self._slide_reader.read(stack, stack.slide, series_instance_uid)
            return self._read_images(stack, series_instance_uid)

    def _read_images(self, stack: ImageStack, series_instance_uid: str) -> Reading:
        started = time.perf_counter()
        scored = score_images(self._bundle, stack)
        self._refuse_another_kind(stack, scored)
        scores = scored.probabilities
        findings = tuple(
            self._finding(number, definition, stack, scores)
            for number, definition in enumerate(self._bundle.manifest.findings, start=1)
        )
        return Reading(
            model=self._bundle.identity,
            manifest=self._bundle.manifest,
            series_instance_uid=series_instance_uid,
            class_probabilities=self._series_classes(stack, scores),
            findings=findings,
            notes=stack.notes,
            device=self._bundle.network.place,
            seconds=time.perf_counter() - started,
        )

    def _refuse_another_kind(self, stack: ImageStack, scored: ScoredImages) -> None:
        """Refuse images that are not like those the model was made for.

        Of a CT series it is enough that some stretch is of its kind: that decides, and not how much else was scanned.
        """
        of_kind, positions = scored.of_kind, _positions(stack)
        if of_kind.all():  # also where the bundle has no gate
            return
        share = float(of_kind.mean())
        if positions is not None:
            share = strongest_stretch([float(yes) for yes in of_kind], positions, _KIND_EXTENT_MM).probability
        if share < _LEAST_OF_KIND:
            raise NotApplicable(_another_kind(self._bundle.manifest.title, int(of_kind.sum()), len(of_kind)))

    def _series_classes(self, stack: ImageStack, scores: DoubleArray) -> dict[str, float]:
        """Mean class probabilities where the findings together are most probable."""
        manifest = self._bundle.manifest
        means = self._strongest(stack, scores[:, manifest.sought_indices()].sum(axis=1)).shares @ scores
        return {name: float(mean) for name, mean in zip(manifest.classes, means, strict=True)}

    def _finding(self, number: int, definition: FindingDefinition, stack: ImageStack, scores: DoubleArray) -> Finding:
        classes = self._bundle.manifest.class_indices(definition)
        probabilities = scores[:, classes].sum(axis=1).clip(0, 1)
        stretch = self._strongest(stack, probabilities)
        keys = stretch.indices[: self._bundle.manifest.aggregation.key_slices]
        point = definition.operating_points[definition.operating_point]
        evaluation = evaluate(stretch.probability, point)
        key_images = tuple(KeyImage(key) for key in keys)
        if evaluation is not Evaluation.ABSENT:
            strongest_class = classes[int(np.argmax(scores[keys[0], classes]))]
            key_images = tuple(self._explained(stack, key, strongest_class) for key in keys)
        return Finding(
            number=number,
            name=definition.name,
            label=definition.label,
            code=definition.code,
            site=definition.site,
            probability=stretch.probability,
            operating_point_name=definition.operating_point,
            operating_point=point,
            evaluation=evaluation,
            key_images=key_images,
            image_probabilities=tuple(float(probability) for probability in probabilities),
            laterality=_laterality(definition, key_images[0], stack),
        )

    def _strongest(self, stack: ImageStack, probabilities: DoubleArray) -> Stretch:
        positions = _positions(stack)
        if positions is None:
            return strongest_image(list(probabilities))
        return strongest_stretch(list(probabilities), positions, self._bundle.manifest.aggregation.extent_mm)

    def _explained(self, stack: ImageStack, index: int, class_index: int) -> KeyImage:
        """A key image with its heat map and region; one after another, since as many as a stretch has may be shown."""
        settings = self._bundle.manifest.saliency
        if settings is None:
            return KeyImage(index)
        heat = heat_map(self._bundle, self._bundle.preprocessing.display_image(stack, index), class_index)
        return KeyImage(index, heat, None if heat is None else outline(heat, settings.region_threshold))


def _another_kind(title: str, of_kind: int, images: int) -> str:
    """Say to the reader that the images are another kind's."""
    if images == 1:
        return f"The image does not look like those the model was made for ({title})."
    likeness = "none does" if of_kind == 0 else f"only {of_kind} of {images} do"
    return f"The {images} images do not look like those the model was made for ({title}): {likeness}."


def _positions(stack: ImageStack) -> list[float] | None:
    """Return the images' positions along the normal in mm, or None where not every image has one."""
    positions = []
    for plane in stack.planes:
        if plane.position is None or plane.orientation is None:
            return None
        positions.append(position_along_normal(plane.position, plane.orientation))
    return positions


def _laterality(definition: FindingDefinition, key: KeyImage, stack: ImageStack) -> str | None:
    if not definition.paired_site or key.heat_map is None or not stack.hounsfield:
        return None
    return side(key.heat_map, stack.pixels[key.index], stack.planes[key.index])
