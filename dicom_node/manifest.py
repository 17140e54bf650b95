"""What a bundle's ``configs/node.yaml`` says: which DICOM a model reads, and what its answers mean."""

from __future__ import annotations

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator
from pydicom import uid
from pydicom.datadict import tag_for_keyword


class ManifestError(Exception):
    """A bundle's ``node.yaml`` is missing or wrong; the text names file, key and what is allowed."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Code(_Strict):
    """A coded concept (PS3.3 8.8): code value, coding scheme designator, code meaning."""

    value: str
    scheme: str
    meaning: str


class ImageKind(StrEnum):
    """What sort of image a model reads."""

    RADIOGRAPH = "radiograph"
    CT = "ct"
    SLIDE = "slide"


class Window(_Strict):
    """A CT window in Hounsfield units (PS3.3 C.11.2.1.2)."""

    center: float
    width: Annotated[float, Field(gt=0)]


class OperatingPoint(_Strict):
    """A threshold on the calibrated probability, and how it did on validation.

    A finding is present at or above ``threshold``, absent below ``indeterminate_below`` where that is given,
    and indeterminate between the two.
    """

    threshold: Annotated[float, Field(ge=0, le=1)]
    indeterminate_below: Annotated[float, Field(ge=0, le=1)] | None = None
    recall: float | None = None
    specificity: float | None = None

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.indeterminate_below is not None and self.indeterminate_below > self.threshold:
            raise ValueError("indeterminate_below must not be above threshold")
        return self


class FindingDefinition(_Strict):
    """One question the model answers: its probability is the sum over ``classes``."""

    name: str
    label: str
    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    code: Code
    site: Code
    paired_site: bool = False
    operating_point: str
    operating_points: dict[str, OperatingPoint]

    @model_validator(mode="after")
    def _chosen_point_exists(self) -> Self:
        if self.operating_point not in self.operating_points:
            raise ValueError(f"operating_point {self.operating_point!r} is not one of {sorted(self.operating_points)}")
        return self


class Calibration(_Strict):
    """Temperature scaling of the logits (Guo et al. 2017); 1.0 leaves them as they are."""

    method: Literal["temperature"] = "temperature"
    temperature: Annotated[float, Field(gt=0)] = 1.0


class Aggregation(_Strict):
    """How slice or tile probabilities become one of the series.

    CT: the series probability is the highest mean over any contiguous stretch of ``extent_mm`` along the slice
    normal, so that neither slice thickness nor repeated or added slices change it.

    Slides: the slide probability is the highest mean of the tissue tiles in any square of ``extent_mm`` side that
    tissue fills at least half, or as far as the slide's tissue can. Single tiles that stray do not make a finding,
    and neither background nor tissue added elsewhere changes it.

    ``key_slices`` is how many slices, or tiles, are shown.
    """

    extent_mm: Annotated[float, Field(gt=0)] = 15.0
    key_slices: Annotated[int, Field(ge=1, le=32)] = 3


class Saliency(_Strict):
    """Grad-CAM settings: the layer whose activations are weighted (a name in the network)."""

    target_layer: str
    region_threshold: Annotated[float, Field(gt=0, lt=1)] = 0.5


class InputDefinition(_Strict):
    """What the network is given before its own MONAI preprocessing.

    Slides are read in colour, in square tiles of ``tile_size`` pixels of ``microns_per_pixel``, whose corners lie
    ``tile_step`` pixels apart (without it, tiles lie side by side).
    """

    channels: Literal[1, 3] = 1
    window: Window | None = None
    microns_per_pixel: Annotated[float, Field(gt=0)] | None = None
    tile_size: Annotated[int, Field(ge=8, le=2048)] | None = None
    tile_step: Annotated[int, Field(ge=1)] | None = None


class Condition(_Strict):
    """One condition on a DICOM attribute of the series (by keyword), or a group of conditions.

    Exactly one test: ``equals``, ``matches`` (regular expression, searched), ``in``, ``not_in``, ``between``
    (numbers, inclusive; ages in years), ``present``; or a group ``any`` / ``all`` / ``none``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    attribute: str | None = None
    equals: str | float | None = None
    matches: str | None = None
    in_: Annotated[tuple[str | float, ...] | None, Field(alias="in")] = None
    not_in: tuple[str | float, ...] | None = None
    between: tuple[float, float] | None = None
    present: bool | None = None
    any: tuple[Condition, ...] | None = None
    all: tuple[Condition, ...] | None = None
    none: tuple[Condition, ...] | None = None

    @field_validator("attribute")
    @classmethod
    def _is_keyword(cls, attribute: str | None) -> str | None:
        if attribute is not None and tag_for_keyword(attribute) is None:
            raise ValueError(f"{attribute!r} is not a DICOM keyword (PS3.6), such as BodyPartExamined")
        return attribute

    @field_validator("matches")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _one_test(self) -> Self:
        tests = [self.equals, self.matches, self.in_, self.not_in, self.between, self.present]
        groups = [self.any, self.all, self.none]
        if self.attribute is not None:
            if sum(test is not None for test in tests) != 1 or any(group is not None for group in groups):
                raise ValueError(
                    f"condition on {self.attribute}: give exactly one of equals, matches, in, not_in, between, present"
                )
        elif sum(group is not None for group in groups) != 1 or any(test is not None for test in tests):
            raise ValueError("a condition needs an attribute with one test, or exactly one of any, all, none")
        return self


class Selection(_Strict):
    """Which series a model reads.

    ``sop_classes`` are UIDs or keywords of pydicom's UID dictionary. ``excluded_image_types`` are values of
    Image Type (any position) that rule a series out. ``order`` ranks the series that pass, best first: DICOM
    keywords or ``number_of_images``, a leading ``-`` for descending; at most ``series_per_study`` are read.
    """

    sop_classes: Annotated[tuple[str, ...], Field(min_length=1)]
    conditions: tuple[Condition, ...] = ()
    excluded_image_types: tuple[str, ...] = ()
    orientation: Literal["axial", "coronal", "sagittal"] | None = None
    minimum_images: Annotated[int, Field(ge=1)] = 1
    order: tuple[str, ...] = ("-number_of_images",)
    series_per_study: Annotated[int, Field(ge=1)] = 1

    @field_validator("sop_classes")
    @classmethod
    def _are_sop_classes(cls, sop_classes: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [
            name
            for name in sop_classes
            if re.fullmatch(uid.RE_VALID_UID, name) is None and not isinstance(getattr(uid, name, None), uid.UID)
        ]
        if unknown:
            raise ValueError(f"{unknown} are neither UIDs nor SOP class keywords (PS3.6), such as CTImageStorage")
        return sop_classes

    @field_validator("order")
    @classmethod
    def _are_ranks(cls, order: tuple[str, ...]) -> tuple[str, ...]:
        unknown = [
            term
            for term in order
            if term.lstrip("-") != "number_of_images" and tag_for_keyword(term.lstrip("-")) is None
        ]
        if unknown:
            raise ValueError(f"{unknown} are neither DICOM keywords (PS3.6) nor number_of_images")
        return order


class BundleManifest(_Strict):
    """The whole of ``configs/node.yaml``."""

    title: str
    enabled: bool = True
    kind: ImageKind
    selection: Selection
    input: InputDefinition = InputDefinition()
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    findings: Annotated[tuple[FindingDefinition, ...], Field(min_length=1)]
    calibration: Calibration = Calibration()
    aggregation: Aggregation = Aggregation()
    saliency: Saliency | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        for finding in self.findings:
            unknown = set(finding.classes) - set(self.classes)
            if unknown:
                raise ValueError(f"finding {finding.name}: {sorted(unknown)} not among classes {list(self.classes)}")
        if self.kind is ImageKind.CT and self.input.window is None:
            raise ValueError("a ct model needs input.window (center and width in HU)")
        if self.kind is ImageKind.SLIDE:
            if self.input.channels != 3 or self.input.tile_size is None or self.input.microns_per_pixel is None:
                raise ValueError("a slide model needs input.channels: 3, input.tile_size and input.microns_per_pixel")
            if self.input.tile_step is not None and self.input.tile_step > self.input.tile_size:
                raise ValueError("input.tile_step must not be larger than input.tile_size: tissue would be passed over")
        return self

    def class_indices(self, finding: FindingDefinition) -> list[int]:
        """Where the classes of a finding lie in the network's output."""
        return [self.classes.index(name) for name in finding.classes]

    def sought_indices(self) -> list[int]:
        """Where the classes that any finding asks for lie; of the first finding where that would be all classes."""
        sought = {name for finding in self.findings for name in finding.classes}
        indices = [index for index, name in enumerate(self.classes) if name in sought]
        return self.class_indices(self.findings[0]) if len(indices) == len(self.classes) else indices


def load_manifest(path: Path) -> BundleManifest:
    """Read and check ``node.yaml``.

    Raises:
        ManifestError: the file is missing, not YAML, or says something that is not allowed.
    """
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ManifestError(f"{path}: not valid YAML: {error}") from error
    try:
        return BundleManifest.model_validate(raw)
    except ValidationError as error:
        lines = [f"{path}:"]
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
            lines.append(f"  {key}: {problem['msg']}")
        raise ManifestError("\n".join(lines)) from error
