"""Whole slide images to an overview and, on demand, the tiles that a model reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from pydicom.uid import VLWholeSlideMicroscopyImageStorage
from wsidicom import WsiDicom
from wsidicom import errors as wsi_errors
from wsidicom.config import Settings
from wsidicom.group import Level

from dicom_node import part10
from dicom_node.domain import (
    ByteArray,
    FloatArray,
    ImagePlane,
    ImageStack,
    NotApplicable,
    SlidePlacement,
    TileBatch,
    TileGrid,
)
from dicom_node.imaging.errors import UnreadableImage, UnreadableSeries, left_out_sentences
from dicom_node.imaging.slide_header import SlideFile, read_slide_files
from dicom_node.imaging.tissue import LEAST_TISSUE, Mask, tissue_mask, tissue_shares
from dicom_node.manifest import InputDefinition

OVERVIEW_SIDE = 1024
"""Pixels of the longer side of an overview, or fewer where the slide has no more."""

COARSEST = 1.25
"""A level this much coarser than the model's resolution is enlarged; with more, too much detail is missing."""

BLOCK_SIDE = 2048
"""Pixels of a level that are decoded at once, on each side: what bounds the memory, about 12 MB."""

WHITE = 255
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)

# Levels need not be powers of two apart, nor tiled alike, to be read one at a time.
_SETTINGS = Settings(strict_tile_size_check=False, strict_specimen_identifier_check=False, level_scale_tolerance=0.5)

_BROKEN = (
    *part10.BROKEN,
    wsi_errors.WsiDicomError,
    wsi_errors.WsiDicomFileError,
    wsi_errors.WsiDicomMatchError,
    wsi_errors.WsiDicomNoResolutionError,
    wsi_errors.WsiDicomNotFoundError,
    wsi_errors.WsiDicomNotSupportedError,
    wsi_errors.WsiDicomOutOfBoundsError,
    wsi_errors.WsiDicomUidDuplicateError,
)
"""What wsidicom, which has no error of its own above all others, and the decoders raise on images they cannot read."""


@dataclass(frozen=True, slots=True)
class ResolutionLevel:
    """One level of the pyramid: its place in wsidicom's, its pixel matrix, and its spacing (rows, columns) in mm."""

    pyramid: int
    number: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float]

    @property
    def microns_per_pixel(self) -> float:
        """The mean of both directions."""
        return 500 * (self.spacing_mm[0] + self.spacing_mm[1])


def read_slide(paths: Sequence[Path]) -> ImageStack:
    """Read the overview of the slide that a series holds; tiles are read later, through the stack's ``slide``.

    Only images of the specimen (VOLUME) are opened: those of the label and of the whole glass may show the
    patient's name.

    Returns:
        One image, the overview, in colour and as luma; its plane is the pixel matrix of the finest level.

    Raises:
        NotApplicable: the series holds no stained specimen with known resolution.
        UnreadableSeries: none of its images can be decoded.
    """
    files, problems = read_slide_files(paths)
    if not files:
        raise UnreadableSeries(problems)
    try:
        slide = WholeSlide.open(files)
    except UnreadableImage as problem:
        raise UnreadableSeries([*problems, problem]) from problem
    finest = files[0]
    plane = ImagePlane(
        sop_instance_uid=finest.sop_instance_uid,
        sop_class_uid=VLWholeSlideMicroscopyImageStorage,
        rows=finest.rows,
        columns=finest.columns,
        pixel_spacing=finest.spacing_mm,
        pixel_aspect=finest.spacing_mm[0] / finest.spacing_mm[1],
    )
    overview = slide.overview
    luma: FloatArray = overview.astype(np.float32) @ LUMA / np.float32(255)
    notes = left_out_sentences(problems)
    return ImageStack(luma[np.newaxis], (plane,), notes=notes, colour=overview[np.newaxis], slide=slide)


class WholeSlide:
    """Reads parts of one slide from its files, which are open only while they are read."""

    def __init__(self, files: Sequence[SlideFile], levels: Sequence[ResolutionLevel], overview: ByteArray) -> None:
        """Take the files of one pyramid and its levels, both finest first."""
        self._files = tuple(files)
        self._levels = tuple(levels)
        self.overview = overview
        self._tissue: Mask = tissue_mask(overview)

    @classmethod
    def open(cls, files: Sequence[SlideFile]) -> WholeSlide:
        """Find the levels and read the overview.

        Raises:
            UnreadableImage: the images do not make a pyramid, or cannot be decoded.
        """
        with _opened(files) as slide:
            levels = _levels_of(slide, files)
            return cls(files, levels, _overview(slide, levels))

    @property
    def placement(self) -> SlidePlacement:
        """Where the slide's pixels lie."""
        finest = self._files[0]
        known = None not in (finest.frame_of_reference_uid, finest.origin_mm, finest.orientation)
        return SlidePlacement(
            sop_instance_uids=tuple(file.sop_instance_uid for file in self._files),
            size_mm=(finest.rows * finest.spacing_mm[0], finest.columns * finest.spacing_mm[1]),
            frame_of_reference_uid=finest.frame_of_reference_uid if known else None,
            origin_mm=finest.origin_mm if known else None,
            orientation=finest.orientation if known else None,
        )

    def grid(self, definition: InputDefinition) -> TileGrid:
        """Lay a model's tiles over the slide, and find those that hold tissue.

        Raises:
            NotApplicable: the slide is too coarse or too small for the model, or holds no tissue.
        """
        if definition.tile_size is None or definition.microns_per_pixel is None:
            raise NotApplicable("The model reads single images, not whole slides.")
        choose_level(self._levels, definition.microns_per_pixel)
        pixel_mm = definition.microns_per_pixel / 1000
        tile_mm = definition.tile_size * pixel_mm
        step_mm = (definition.tile_step or definition.tile_size) * pixel_mm
        height, width = self.placement.size_mm
        if min(height, width) < tile_mm:
            size = f"{width:.2f} mm x {height:.2f} mm"
            raise NotApplicable(f"The image of the slide ({size}) is smaller than one tile of the model.")
        tops, lefts = (
            np.arange(1 + math.ceil((side - tile_mm) / step_mm - 1e-6)) * step_mm for side in (height, width)
        )
        rows, columns = self._tissue.shape
        down, across = rows / height, columns / width
        shares = tissue_shares(self._tissue, tops * down, lefts * across, tile_mm * down, tile_mm * across)
        tissue = shares >= LEAST_TISSUE
        if not tissue.any():
            raise NotApplicable("No stained tissue was found on the slide.")
        return TileGrid(tissue, definition.tile_size, tile_mm, step_mm)

    def tiles(self, grid: TileGrid) -> Iterator[TileBatch]:
        """Read the tissue tiles block by block, resampled to the model's resolution; beyond the edge is white.

        Raises:
            UnreadableImage: the pixels cannot be decoded.
        """
        level = choose_level(self._levels, 1000 * grid.tile_mm / grid.tile_size)
        reach = BLOCK_SIDE * min(level.spacing_mm)
        side = max(1, int((reach - grid.tile_mm) / grid.step_mm) + 1)
        rows, columns = grid.tissue.shape
        with _opened(self._files) as slide:
            for top in range(0, rows, side):
                for left in range(0, columns, side):
                    block = grid.tissue[top : top + side, left : left + side]
                    if block.any():
                        yield _tiles_of_block(slide, level, grid, block, top, left)


def choose_level(levels: Sequence[ResolutionLevel], microns_per_pixel: float) -> ResolutionLevel:
    """Return the level nearest to the model's resolution among those that are not much coarser.

    Raises:
        NotApplicable: all are.
    """
    fine_enough = [level for level in levels if level.microns_per_pixel <= COARSEST * microns_per_pixel]
    if not fine_enough:
        finest = min(level.microns_per_pixel for level in levels)
        raise NotApplicable(
            f"The slide is too coarse for the model: it has {finest:.2g} micrometres a pixel,"
            f" the model needs {microns_per_pixel:.2g}."
        )
    return min(fine_enough, key=lambda level: abs(math.log(level.microns_per_pixel / microns_per_pixel)))


@contextmanager
def _opened(files: Sequence[SlideFile]) -> Iterator[WsiDicom]:
    """Open the files, and tell what goes wrong with them then or later in the node's own words."""
    try:
        with WsiDicom.open([file.path for file in files], settings=_SETTINGS) as slide:
            yield slide
    except _BROKEN as error:
        reason = f"the slide could not be decoded ({part10.in_one_line(error)})"
        raise UnreadableImage(files[0].path, reason, files[0].sop_instance_uid) from error


def _levels_of(slide: WsiDicom, files: Sequence[SlideFile]) -> list[ResolutionLevel]:
    """The levels of the pyramid that the finest image belongs to, finest first."""
    by_uid = {file.sop_instance_uid: file for file in files}
    for number, pyramid in enumerate(slide.pyramids):
        members: list[tuple[SlideFile, Level]] = [
            (by_uid[uid], level) for level in pyramid for uid in _instance_uids(level) if uid in by_uid
        ]
        if files[0] in (file for file, _ in members):
            levels = {level.level: (file, level) for file, level in members}
            return [
                ResolutionLevel(number, level.level, file.rows, file.columns, file.spacing_mm)
                for file, level in levels.values()
            ]
    raise wsi_errors.WsiDicomNotFoundError(files[0].sop_instance_uid, "the slide's pyramids")


def _instance_uids(level: Level) -> list[str]:
    return [str(dataset.instance_uid) for dataset in level.datasets]


def _overview(slide: WsiDicom, levels: Sequence[ResolutionLevel]) -> ByteArray:
    """Scale the coarsest level that is large enough down, in strips."""
    large_enough = [level for level in levels if max(level.rows, level.columns) >= OVERVIEW_SIDE]
    level = large_enough[-1] if large_enough else levels[0]
    scale = min(1.0, OVERVIEW_SIDE / max(level.rows, level.columns))
    rows, columns = max(1, round(level.rows * scale)), max(1, round(level.columns * scale))
    overview = np.empty((rows, columns, 3), dtype=np.uint8)
    down, across = level.rows / rows, level.columns / columns
    high, wide = max(1, int(BLOCK_SIDE / down)), max(1, int(BLOCK_SIDE / across))
    for top in range(0, rows, high):
        for left in range(0, columns, wide):
            bottom, right = min(top + high, rows), min(left + wide, columns)
            box = left * across, top * down, right * across, bottom * down
            overview[top:bottom, left:right] = _read(slide, level, box, (right - left, bottom - top))
    return overview


def _tiles_of_block(
    slide: WsiDicom, level: ResolutionLevel, grid: TileGrid, block: npt.NDArray[np.bool_], top: int, left: int
) -> TileBatch:
    """Read a block of tiles as one image of the model's resolution, and cut its tissue tiles from it."""
    pixel_mm = grid.tile_mm / grid.tile_size
    step = round(grid.step_mm / pixel_mm)
    height, width = (step * (count - 1) + grid.tile_size for count in block.shape)
    down, across = pixel_mm / level.spacing_mm[0], pixel_mm / level.spacing_mm[1]
    box = (
        left * step * across,
        top * step * down,
        (left * step + width) * across,
        (top * step + height) * down,
    )
    image = _read(slide, level, box, (width, height))
    rows, columns = np.nonzero(block)
    size = grid.tile_size
    tiles = [image[r * step : r * step + size, c * step : c * step + size] for r, c in zip(rows, columns, strict=True)]
    return TileBatch(np.stack(tiles), rows + top, columns + left)


def _read(
    slide: WsiDicom, level: ResolutionLevel, box: tuple[float, float, float, float], size: tuple[int, int]
) -> ByteArray:
    """Read ``box`` (left, top, right, bottom; in the level's pixels, beyond its edge white) as RGB of ``size``."""
    left, top = math.floor(box[0]), math.floor(box[1])
    right, bottom = math.ceil(box[2] - 1e-6), math.ceil(box[3] - 1e-6)
    canvas = np.full((bottom - top, right - left, 3), WHITE, dtype=np.uint8)
    inside = min(right, level.columns) - left, min(bottom, level.rows) - top
    region = slide.read_region((left, top), level.number, inside, pyramid=level.pyramid, as_array=True)
    canvas[: inside[1], : inside[0]] = region
    within = (box[0] - left, box[1] - top, min(box[2] - left, right - left), min(box[3] - top, bottom - top))
    resized = Image.fromarray(canvas).resize(size, Image.Resampling.BILINEAR, box=within)
    return np.asarray(resized)
