"""How far a training is, in a file that others read while it goes on."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from training.fitting import Epoch

PROGRESS_FILE = "progress.json"
TRAINING_FILE = Path("docs/training.json")


class Progress:
    """Owns ``progress.json`` of a run: the epochs of each fit so far, and how many there may be."""

    def __init__(self, run: Path, fits: int, epochs: int) -> None:
        self._path = run / PROGRESS_FILE
        self._epochs_of_each = epochs
        self._fits: list[list[dict[str, object]]] = [[] for _ in range(fits)]

    def of_fit(self, number: int) -> Callable[[Sequence[Epoch]], None]:
        """What is called after each epoch of the fit with this number, from 1, with all of its epochs so far."""

        def write(epochs: Sequence[Epoch]) -> None:
            self._fits[number - 1] = [asdict(epoch) for epoch in epochs]
            draft = self._path.with_suffix(".draft")
            draft.write_text(json.dumps({"epochs_of_each": self._epochs_of_each, "fits": self._fits}), "utf-8")
            draft.replace(self._path)

        return write


def write_training(bundle: Path, images_per_class: Mapping[str, int], groups: int, history: object) -> None:
    """Keep with the bundle what it was trained on and how: ``docs/training.json``."""
    path = bundle / TRAINING_FILE
    path.parent.mkdir(exist_ok=True)
    content = {"images_per_class": dict(images_per_class), "groups": groups, "fits": history}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
