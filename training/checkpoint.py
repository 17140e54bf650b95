"""The state of an unfinished training on disk, from which it goes on as if it had not been interrupted."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dicom_node.inference.definition import BundleDefinition
from training.configuration import TrainingConfiguration
from training.labelled_images import LabelledImage


class ResumeError(Exception):
    """There is a checkpoint, but not of this training; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One fit's state in a file; replaced as a whole, so that a kill leaves the last complete one."""

    path: Path
    fingerprint: str

    def save(self, state: dict[str, Any]) -> None:
        """Write the state, durable before it takes the place of the last one."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_suffix(".draft")
        with draft.open("wb") as file:
            torch.save({"fingerprint": self.fingerprint, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)

    def load(self) -> dict[str, Any] | None:
        """Return what was saved last, None if nothing was.

        Raises:
            ResumeError: it is unreadable, or its configuration, network or images are not these.
        """
        if not self.path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=True)
        except (OSError, pickle.UnpicklingError, RuntimeError, EOFError, KeyError) as error:
            raise ResumeError(f"{self.path}: cannot be read: {error}. Train without --resume.") from error
        if state.get("fingerprint") != self.fingerprint:
            raise ResumeError(
                f"{self.path}: was left by a training with another configuration, network or other images."
                " Train without --resume."
            )
        return state


def training_fingerprint(
    definition: BundleDefinition, configuration: TrainingConfiguration, images: Sequence[LabelledImage]
) -> str:
    """Return a digest of all that a training's outcome depends on, pixels aside."""
    content = {
        "training": configuration.model_dump(mode="json"),
        "inference": definition.inference,
        "images": [(image.path.name, image.label, image.group) for image in images],
        "torch": torch.__version__,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
