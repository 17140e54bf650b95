"""Reads a whole slide with one model: every tissue tile scored, aggregated to findings, shown on the overview."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from dicom_node.domain import (
    ByteArray,
    Evaluation,
    Finding,
    FloatArray,
    ImagePlane,
    ImageStack,
    KeyImage,
    KeyTile,
    NotApplicable,
    Polygon,
    Reading,
    TiledSlide,
    TileGrid,
)
from dicom_node.inference.bundle import Bundle
from dicom_node.inference.neighbourhood import Neighbourhood, local_means, strongest_neighbourhood
from dicom_node.inference.operating_point import evaluate
from dicom_node.inference.region import outline
from dicom_node.inference.scoring import score_images
from dicom_node.manifest import FindingDefinition, Saliency

DoubleArray = npt.NDArray[np.float64]

_LEAST_OF_KIND = 0.5
"""Share of the tissue tiles that has to be of the model's kind."""


@dataclass(frozen=True, slots=True, eq=False)
class _ScoredSlide:
    """A slide, its overview's shape, and the class probabilities of its tiles, (rows, columns, classes)."""

    slide: TiledSlide
    overview_shape: tuple[int, int]
    grid: TileGrid
    scores: DoubleArray

    @property
    def millimetres_per_pixel(self) -> tuple[float, float]:
        """Of the overview: between rows, between columns."""
        height, width = self.slide.placement.size_mm
        return height / self.overview_shape[0], width / self.overview_shape[1]


class SlideReader:
    """Reads whole slides with one loaded bundle; not to be shared between threads."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._manifest = bundle.manifest

    def read(self, stack: ImageStack, slide: TiledSlide, series_instance_uid: str) -> Reading:
        """Read a slide.

        Raises:
            NotApplicable: the slide is not what the model was made for.
            UnreadableImage: its pixels cannot be decoded.
            BundleError: the network's output does not fit the manifest.
        """
        started = time.perf_counter()
        scored = self._score(stack, slide)
        findings = tuple(
            self._finding(number, definition, scored)
            for number, definition in enumerate(self._manifest.findings, start=1)
        )
        return Reading(
            model=self._bundle.identity,
            manifest=self._manifest,
            series_instance_uid=series_instance_uid,
            class_probabilities=self._slide_classes(scored),
            findings=findings,
            notes=(_coverage(scored.grid),),
            device=self._bundle.network.place,
            seconds=time.perf_counter() - started,
        )

    def class_probabilities(self, stack: ImageStack, slide: TiledSlide) -> dict[str, float]:
        """Return the calibrated probability of each class for the whole slide."""
        return self._slide_classes(self._score(stack, slide))

    def _score(self, stack: ImageStack, slide: TiledSlide) -> _ScoredSlide:
        grid = slide.grid(self._manifest.input)
        scores = np.zeros((*grid.tissue.shape, len(self._manifest.classes)))
        tiles = of_kind = 0
        for batch in slide.tiles(grid):
            scored = score_images(self._bundle, _as_stack(batch.pixels))
            scores[batch.rows, batch.columns] = scored.probabilities
            tiles, of_kind = tiles + len(scored.of_kind), of_kind + int(scored.of_kind.sum())
        if of_kind < _LEAST_OF_KIND * tiles:
            raise NotApplicable(
                "The slide does not look like those the model was made for"
                f" ({self._manifest.title}): {of_kind} of {tiles} tiles do."
            )
        return _ScoredSlide(slide, (stack.pixels.shape[1], stack.pixels.shape[2]), grid, scores)

    def _slide_classes(self, scored: _ScoredSlide) -> dict[str, float]:
        """Mean class probabilities where the findings together are most probable."""
        sought = scored.scores[..., self._manifest.sought_indices()].sum(axis=-1)
        members = self._strongest(sought, scored.grid).members
        means = scored.scores[members].mean(axis=0)
        return {name: float(mean) for name, mean in zip(self._manifest.classes, means, strict=True)}

    def _finding(self, number: int, definition: FindingDefinition, scored: _ScoredSlide) -> Finding:
        probabilities = scored.scores[..., self._manifest.class_indices(definition)].sum(axis=-1).clip(0, 1)
        strongest = self._strongest(probabilities, scored.grid)
        point = definition.operating_points[definition.operating_point]
        evaluation = evaluate(strongest.probability, point)
        overview = KeyImage(0)
        if evaluation is not Evaluation.ABSENT:
            overview = KeyImage(0, _on_overview(probabilities, scored), self._region(probabilities, scored))
        return Finding(
            number=number,
            name=definition.name,
            label=definition.label,
            code=definition.code,
            site=definition.site,
            probability=strongest.probability,
            operating_point_name=definition.operating_point,
            operating_point=point,
            evaluation=evaluation,
            key_images=(overview,),
            image_probabilities=(strongest.probability,),
            key_tiles=_key_tiles(probabilities, scored, self._manifest.aggregation.key_slices),
        )

    def _strongest(self, probabilities: DoubleArray, grid: TileGrid) -> Neighbourhood:
        return strongest_neighbourhood(probabilities, grid.tissue, self._side(grid))

    def _side(self, grid: TileGrid) -> int:
        return max(1, round(self._manifest.aggregation.extent_mm / grid.step_mm))

    def _region(self, probabilities: DoubleArray, scored: _ScoredSlide) -> Polygon | None:
        """Outline the strongest area: of the local means, so that stray tiles neither make nor fray it."""
        means = local_means(probabilities, scored.grid.tissue, self._side(scored.grid))
        saliency = self._manifest.saliency or Saliency(target_layer="")
        return outline(_on_overview(means, scored), saliency.region_threshold)


def _as_stack(tiles: ByteArray) -> ImageStack:
    """Tiles as images like any other, so that one definition prepares and scores both."""
    count, rows, columns = tiles.shape[:3]
    plane = ImagePlane(sop_instance_uid="", sop_class_uid="", rows=rows, columns=columns)
    grey: FloatArray = np.broadcast_to(np.float32(0), (count, rows, columns))
    return ImageStack(pixels=grey, planes=(plane,) * count, colour=tiles)


def _on_overview(values: DoubleArray, scored: _ScoredSlide) -> FloatArray:
    """Interpolate values of tiles at the overview's pixels, (H, W) in [0, 1]; 0 where no tile holds tissue."""
    grid = scored.grid
    places = [
        ((np.arange(count) + 0.5) * size - grid.tile_mm / 2) / grid.step_mm
        for count, size in zip(scored.overview_shape, scored.millimetres_per_pixel, strict=True)
    ]
    at = np.meshgrid(*places, indexing="ij")
    weights = ndimage.map_coordinates(grid.tissue.astype(np.float32), at, order=1, mode="nearest")
    weighted = ndimage.map_coordinates(np.where(grid.tissue, values, 0), at, order=1, mode="nearest")
    heat = np.where(weights >= 0.5, weighted / np.maximum(weights, 0.5), 0)
    return np.asarray(heat.clip(0, 1), dtype=np.float32)


def _key_tiles(probabilities: DoubleArray, scored: _ScoredSlide, count: int) -> tuple[KeyTile, ...]:
    """The most probable tiles that do not overlap, most telling first, read again for their pixels."""
    chosen = list(_most_probable(probabilities, scored.grid, count))
    wanted = np.zeros_like(scored.grid.tissue)
    wanted[tuple(np.transpose(chosen))] = True
    pixels = {
        (int(row), int(column)): tile
        for batch in scored.slide.tiles(replace(scored.grid, tissue=wanted))
        for tile, row, column in zip(batch.pixels, batch.rows, batch.columns, strict=True)
    }
    return tuple(KeyTile(pixels[place], _outline_of(place, scored), float(probabilities[place])) for place in chosen)


def _most_probable(probabilities: DoubleArray, grid: TileGrid, count: int) -> Iterator[tuple[int, int]]:
    left = np.where(grid.tissue, probabilities, -1.0)
    reach = int(np.ceil(grid.tile_mm / grid.step_mm - 1e-6)) - 1
    for _ in range(count):
        row, column = (int(index) for index in np.unravel_index(int(np.argmax(left)), left.shape))
        if left[row, column] < 0:
            return
        yield row, column
        left[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1] = -1.0


def _outline_of(place: tuple[int, int], scored: _ScoredSlide) -> Polygon:
    """The edge of a tile on the overview, closed, as (column, row)."""
    (top, left), (bottom, right) = (
        [
            min((index * scored.grid.step_mm + side) / size, limit)
            for index, size, limit in zip(place, scored.millimetres_per_pixel, scored.overview_shape, strict=True)
        ]
        for side in (0.0, scored.grid.tile_mm)
    )
    return ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))


def _coverage(grid: TileGrid) -> str:
    """What the model has seen of the slide."""
    microns = 1000 * grid.tile_mm
    return (
        f"Read: {int(grid.tissue.sum())} tiles of tissue, {microns:.0f} micrometres wide,"
        f" at {microns / grid.tile_size:.2f} micrometres a pixel."
    )
