"""The small types that the stages hand to one another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from dicom_node.manifest import BundleManifest, Code, InputDefinition, OperatingPoint

FloatArray = npt.NDArray[np.float32]
ByteArray = npt.NDArray[np.uint8]
Polygon = tuple[tuple[float, float], ...]
"""Vertices as (column, row)."""

MANUFACTURER = "dicom-node"
"""Manufacturer (0008,0070) of every object a node makes; by it a node recognises its own results."""

IMPLEMENTATION_CLASS_UID = "2.25.249554102307974459175380163855371459183"
"""Implementation Class UID (PS3.7 D.3.3.2, PS3.10 7.1) of the node."""


@dataclass(frozen=True, slots=True)
class Association:
    """Who is at the other end of an association."""

    calling_ae_title: str
    called_ae_title: str
    address: str


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored SOP instance; ``path`` is absolute."""

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    transfer_syntax_uid: str
    modality: str
    path: Path


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a study with its stored instances."""

    series_instance_uid: str
    modality: str
    instances: tuple[Instance, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """One study as the archive holds it."""

    study_instance_uid: str
    series: tuple[Series, ...]

    @property
    def instances(self) -> tuple[Instance, ...]:
        """Every instance of every series."""
        return tuple(instance for series in self.series for instance in series.instances)


@dataclass(frozen=True, slots=True)
class SeriesDecision:
    """Which model reads a series, or in a sentence why none does.

    ``sop_instance_uids`` are the instances of the series to read; empty where no model reads it.
    """

    series_instance_uid: str
    model: str | None
    reason: str
    sop_instance_uids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ImagePlane:
    """One image of a stack: where its pixels come from and where they lie in the patient.

    ``frame_number`` counts from 1 and is None for single-frame objects. ``position`` and ``orientation``
    are Image Position (Patient) and Image Orientation (Patient) in mm (PS3.3 C.7.6.2.1.1), None for projections.
    ``pixel_spacing`` is (between rows, between columns) in mm, None where unknown. ``pixel_aspect`` is the
    height of a pixel over its width.
    """

    sop_instance_uid: str
    sop_class_uid: str
    rows: int
    columns: int
    frame_number: int | None = None
    position: tuple[float, float, float] | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None
    pixel_spacing: tuple[float, float] | None = None
    pixel_aspect: float = 1.0


@dataclass(frozen=True, slots=True)
class SlidePlacement:
    """Where a slide's pixels lie on the glass.

    ``sop_instance_uids`` are the instances of all resolution levels; the stack's plane is the whole pixel matrix
    of the finest one. ``size_mm`` is (height, width). ``origin_mm`` (x, y) is the centre of that level's upper left
    pixel and ``orientation`` Image Orientation (Slide), in the slide coordinate system (PS3.3 C.8.12.2.1) of
    ``frame_of_reference_uid``; all three are None where the images do not give them all.
    """

    sop_instance_uids: tuple[str, ...]
    size_mm: tuple[float, float]
    frame_of_reference_uid: str | None = None
    origin_mm: tuple[float, float] | None = None
    orientation: tuple[float, float, float, float, float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class TileBatch:
    """Some tiles of a slide: ``pixels`` uint8 RGB (N, size, size, 3), and their places in the grid of tiles."""

    pixels: ByteArray
    rows: npt.NDArray[np.int64]
    columns: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class TileGrid:
    """Square tiles over a slide.

    ``tissue`` is (rows, columns): which tiles hold tissue. Corners lie ``step_mm`` apart, from the slide's upper
    left corner; a tile's side is ``tile_mm``. ``tile_size`` is in pixels.
    """

    tissue: npt.NDArray[np.bool_]
    tile_size: int
    tile_mm: float
    step_mm: float


class TiledSlide(Protocol):
    """A whole slide whose pixels are read when they are asked for."""

    @property
    def placement(self) -> SlidePlacement:
        """Where the slide's pixels lie."""

    def grid(self, definition: InputDefinition) -> TileGrid:
        """Lay a model's tiles over the slide.

        Raises:
            NotApplicable: the slide is too coarse or too small for the model, or holds no tissue.
        """

    def tiles(self, grid: TileGrid) -> Iterator[TileBatch]:
        """Read the tissue tiles, a part of the slide at a time.

        Raises:
            UnreadableImage: the pixels cannot be decoded.
        """


@dataclass(frozen=True, slots=True, eq=False)
class ImageStack:
    """The images that a model reads, in the order it reads them.

    ``pixels`` is float32, (S, H, W): Hounsfield units where ``hounsfield`` says so (CT, ordered along the slice
    normal), else display grey in [0, 1] (0 is black as displayed; MONOCHROME1 already inverted).
    ``planes`` has S entries. ``colour`` is uint8 RGB, (S, H, W, 3), where the images are in colour; ``pixels``
    then holds their luma. ``slide`` is there for whole slides: the only image is then an overview of the slide,
    coarser than its plane. ``notes`` are sentences about what was left out or looks odd (duplicates, gaps,
    files that could not be decoded), for the study's outcome.
    """

    pixels: FloatArray
    planes: tuple[ImagePlane, ...]
    hounsfield: bool = False
    notes: tuple[str, ...] = ()
    colour: ByteArray | None = None
    slide: TiledSlide | None = None

    @property
    def sop_instance_uids(self) -> tuple[str, ...]:
        """The instances that the images come from, each once."""
        parts = () if self.slide is None else self.slide.placement.sop_instance_uids
        return tuple(dict.fromkeys((*(plane.sop_instance_uid for plane in self.planes), *parts)))


class NotApplicable(Exception):
    """The input is not what the model was made for; the text says why, in a sentence for the reader."""


@dataclass(frozen=True, slots=True, eq=False)
class KeyTile:
    """A tile that carries a finding: ``pixels`` uint8 RGB, its ``outline`` on the overview as (column, row)."""

    pixels: ByteArray
    outline: tuple[tuple[float, float], ...]
    probability: float


@dataclass(frozen=True, slots=True, eq=False)
class KeyImage:
    r"""An image that is shown for a finding: ``index`` into the stack, and where the model looked on it.

    ``heat_map`` is float32 (H, W) on the image's own pixel grid, in [0, 1] with its own peak at 1, or None. ``region``
    is the outline of the hot area as (column, row) vertices in the SCOORD convention (PS3.3 C.18.6.1.1: the top left
    corner of the top left pixel is 0\0, its centre 0.5\0.5), closed (first vertex repeated last), or None where there
    is nothing to draw.
    """

    index: int
    heat_map: FloatArray | None = None
    region: Polygon | None = None


class Evaluation(StrEnum):
    """What the model says of a finding, once its probability is held against the operating point."""

    PRESENT = "present"
    ABSENT = "absent"
    INDETERMINATE = "indeterminate"


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """One question a model answers on one series, and its answer.

    ``key_images`` are the images shown for it, most telling first, at least one; the first is *the* key image.
    ``image_probabilities`` holds the probability of this finding for each image of the stack. ``laterality`` is
    "left", "right" or None.

    On whole slides the key image is the overview: its ``heat_map`` is the probability of the tissue there and
    its ``region`` is drawn on it; ``key_tiles`` are the tiles that speak most for the finding.
    """

    number: int
    name: str
    label: str
    code: Code
    site: Code
    probability: float
    operating_point_name: str
    operating_point: OperatingPoint
    evaluation: Evaluation
    key_images: tuple[KeyImage, ...]
    image_probabilities: tuple[float, ...]
    laterality: str | None = None
    key_tiles: tuple[KeyTile, ...] = ()

    @property
    def key_index(self) -> int:
        """The index into the stack of the image that carries the finding most."""
        return self.key_images[0].index

    @property
    def heat_map(self) -> FloatArray | None:
        """Where the model looked on the key image."""
        return self.key_images[0].heat_map

    @property
    def region(self) -> Polygon | None:
        """The outline of the hot area on the key image."""
        return self.key_images[0].region


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model, exactly: ``weights_digest`` is the SHA-256 of the weights file.

    ``decided`` names findings and the operating points that they are held against in place of the bundle's own: the
    same probability may then mean another answer.
    """

    name: str
    version: str
    weights_digest: str
    decided: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one model says about one series. ``class_probabilities`` are of the whole series, calibrated."""

    model: ModelIdentity
    manifest: BundleManifest
    series_instance_uid: str
    class_probabilities: Mapping[str, float]
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    device: str = "cpu"
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AnalysisIdentity:
    """What results are derived from: the study, the digest of its input instances, and when it was asked.

    ``created_at`` dates every object made, so that a replay makes the same bytes. ``predecessor_digest`` is
    the input digest of the analysis that this one supersedes.
    """

    study_instance_uid: str
    input_digest: str
    created_at: datetime
    predecessor_digest: str | None = None


class ResultKind(StrEnum):
    """The kinds of object the node makes."""

    STRUCTURED_REPORT = "SR"
    SECONDARY_CAPTURE = "SC"
    PRESENTATION_STATE = "PR"
    PARAMETRIC_MAP = "PM"
    SEGMENTATION = "SEG"

    @property
    def in_words(self) -> str:
        """Such as ``Structured report``."""
        return self.name.replace("_", " ").capitalize()


class Role(StrEnum):
    """What a user of the web pages or an API key may do; each role may do what the ones before it may."""

    VIEWER = "viewer"
    """Sees what the node does: studies by accession number, findings, deliveries; no patient, no result object."""
    OPERATOR = "operator"
    """Sees patients and result objects as well, and acts on studies."""
    ADMIN = "admin"
    """Everything."""

    def may_act_as(self, needed: Role) -> bool:
        """Whether this role includes ``needed``."""
        order = tuple(Role)
        return order.index(self) >= order.index(needed)

    @property
    def sees_patients(self) -> bool:
        """Whether patient names and IDs, and objects that hold them, are shown to this role."""
        return self.may_act_as(Role.OPERATOR)


class StudyState(StrEnum):
    """Where a study is on its way; the last four are ends that say so on the status page."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    ANALYSING = "analysing"
    DELIVERING = "delivering"
    DELIVERED = "delivered"
    NOT_APPLICABLE = "not applicable"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeliveryState(StrEnum):
    """Where one result object is on its way to one destination."""

    PENDING = "pending"
    RETRYING = "retrying"
    DELIVERED = "delivered"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU as its driver tells: what all processes together take of its memory. None where it does not answer."""

    name: str
    used_megabytes: int | None
    megabytes: int | None


class VersionState(StrEnum):
    """Where a version of a model that is trained on the node's data is on its way."""

    REQUESTED = "requested"
    TRAINING = "training"
    TRAINED = "trained"
    """Evaluated beside the version in use; an administrator decides."""
    PROMOTED = "promoted"
    """It was put to use, and may be again."""
    DISCARDED = "discarded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DELETED = "deleted"
    """Its files are gone, or to go; what was said of it stays."""


@dataclass(frozen=True, slots=True)
class ResultObject:
    """One DICOM object made by the node and kept in the store; ``path`` is absolute."""

    sop_instance_uid: str
    sop_class_uid: str
    kind: ResultKind
    path: Path


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """How one attempt to send one object went.

    ``status`` is the DIMSE status, None where the peer was not reached. ``message`` is for the admin: what the
    peer answered, or what went wrong, in words.
    """

    state: DeliveryState
    message: str
    status: int | None = None
