"""How a bundle is trained: its ``configs/train.json``, checked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

TRAINING_FILE = Path("configs/train.json")

Probability = Annotated[float, Field(ge=0, le=1)]
Range = tuple[float, float]


class TrainingConfigurationError(Exception):
    """``train.json`` is missing or wrong; the text names file, key and what is allowed."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class AugmentationConfiguration(_Strict):
    """Random changes that leave the diagnosis as it is; each is applied to an image with its probability.

    Lengths are fractions of the image side. ``zoom`` and ``aspect`` are factors; ``window_low`` and
    ``window_high`` are where a narrower display window ends, as fractions of the image's own grey range.
    ``quarter_turns`` turns square images by a multiple of 90 degrees. ``stain`` is the range of factors on the
    amount of each stain of an H&E image in colour (Tellez et al. 2018).
    """

    flip_horizontal: Probability = 0.0
    flip_vertical: Probability = 0.0
    rotation_degrees: Annotated[float, Field(ge=0, le=180)] = 10.0
    translation: Annotated[float, Field(ge=0, le=0.5)] = 0.06
    zoom: Range = (0.85, 1.15)
    aspect: Range = (0.85, 1.18)
    gamma: Range = (0.6, 1.6)
    gamma_probability: Probability = 0.5
    window_low: Range = (0.0, 0.1)
    window_high: Range = (0.7, 1.0)
    window_probability: Probability = 0.3
    blur_sigma: Range = (0.3, 1.2)
    blur_probability: Probability = 0.2
    sharpen_probability: Probability = 0.1
    noise: Range = (0.0, 0.1)
    noise_probability: Probability = 0.2
    erase_probability: Probability = 0.2
    mixup_alpha: Annotated[float, Field(ge=0)] = 0.0
    quarter_turns: bool = False
    stain: Range | None = None


class ValidationConfiguration(_Strict):
    """Which images decide: a named split, or a fraction of the groups, or every group in turn (folds)."""

    split: str | None = None
    fraction: Annotated[float, Field(gt=0, lt=1)] = 0.15
    folds: Annotated[int, Field(ge=2)] | None = None
    perturbed_copies: Annotated[int, Field(ge=0)] = 4


class TransferConfiguration(_Strict):
    """Weights to start from: the one ``.pth`` file of an installed Python package, or a ``checkpoint`` file.

    What they give learns slower than what is new, by ``learning_rate_factor``, and not at all in the first
    ``frozen_epochs``: a random classifier would undo it. Layers named in ``frozen_layers`` never learn; batch
    statistics follow the images everywhere.
    """

    package: str | None = None
    checkpoint: Path | None = None
    learning_rate_factor: Annotated[float, Field(gt=0, le=1)] = 0.25
    frozen_epochs: Annotated[int, Field(ge=0)] = 0
    frozen_layers: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.package is None) == (self.checkpoint is None):
            raise ValueError("name either a package or a checkpoint")
        return self


class PretrainingConfiguration(_Strict):
    """The self-supervised stage: SimCLR with its ``temperature``, from random weights or from ``transfer``.

    A batch is compared with itself only, so that a large one teaches more. Augmentation, weight decay, warm-up and
    seed are those of the training.
    """

    epochs: Annotated[int, Field(ge=1)] = 20
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    temperature: Annotated[float, Field(gt=0, le=1)] = 0.2
    transfer: TransferConfiguration | None = None


class TrainingConfiguration(_Strict):
    """The whole of ``train.json``.

    ``class_folders`` gives other folder names of a class; case does not matter. A rare class is made up for by
    drawing every class equally often (``sampling``), or by drawing images as they come ("image") and weighting
    the loss with the inverse of a class's frequency (``class_weights``). ``mixed_precision`` multiplies in bfloat16:
    twice as fast for plain convolutions, slower on CPUs for depthwise ones.
    """

    seed: int = 0
    class_folders: dict[str, tuple[str, ...]] = {}
    sampling: Literal["class", "class and group", "image"] = "class"
    class_weights: bool = False
    epochs: Annotated[int, Field(ge=1)] = 16
    samples_per_epoch: Annotated[int, Field(ge=1)] = 4000
    batch_size: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warm_up: Probability = 0.08
    label_smoothing: Probability = 0.05
    ema_decay: Annotated[float, Field(gt=0, lt=1)] = 0.995
    patience: Annotated[int, Field(ge=1)] = 8
    mixed_precision: bool = True
    pretraining: PretrainingConfiguration = PretrainingConfiguration()
    transfer: TransferConfiguration | None = None
    augmentation: AugmentationConfiguration = AugmentationConfiguration()
    validation: ValidationConfiguration = ValidationConfiguration()

    @model_validator(mode="after")
    def _weighted_once(self) -> Self:
        if self.class_weights and self.sampling != "image":
            raise ValueError('class_weights needs sampling "image": a rare class would be made up for twice')
        return self


def load_training_configuration(bundle_folder: Path) -> TrainingConfiguration:
    """Read and check a bundle's ``train.json``.

    Raises:
        TrainingConfigurationError: the file is missing, not JSON, or says something that is not allowed.
    """
    path = bundle_folder / TRAINING_FILE
    try:
        return TrainingConfiguration.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise TrainingConfigurationError(f"{path}: cannot be read: {error.strerror}") from error
    except json.JSONDecodeError as error:
        raise TrainingConfigurationError(f"{path}: not valid JSON: {error}") from error
    except ValidationError as error:
        lines = [f"  {'.'.join(str(part) for part in p['loc']) or '(whole file)'}: {p['msg']}" for p in error.errors()]
        raise TrainingConfigurationError("\n".join([f"{path}:", *lines])) from error
