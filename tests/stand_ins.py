"""Small stand-ins for parts that a test does not look at."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from benchmarks.stand_in_manifest import MANIFEST
from dicom_node.domain import Evaluation, Finding, Gpu, ImageStack, KeyImage, ModelIdentity, NotApplicable, Reading

SQUARE = ((4.0, 4.0), (8.0, 4.0), (8.0, 8.0), (4.0, 8.0), (4.0, 4.0))


class StandInReader:
    """Reads any stack at once: the probability is fixed, the region a square."""

    def __init__(self, before: Callable[[], None] = lambda: None, *, seconds: float = 0.0) -> None:
        self.identity = ModelIdentity("stand_in", "1.0", "0" * 64)
        self.bundle = SimpleNamespace(manifest=MANIFEST, identity=self.identity)
        self.reads = 0
        self._before = before
        self._seconds = seconds

    def read(self, stack: ImageStack, series_instance_uid: str) -> Reading:
        self.reads += 1
        self._before()
        time.sleep(self._seconds)
        definition = MANIFEST.findings[0]
        middle = len(stack.planes) // 2
        heat_map = np.zeros(stack.pixels.shape[1:], np.float32)
        heat_map[4:8, 4:8] = 1
        finding = Finding(
            number=1,
            name=definition.name,
            label=definition.label,
            code=definition.code,
            site=definition.site,
            probability=0.9,
            operating_point_name="balanced",
            operating_point=definition.operating_points["balanced"],
            evaluation=Evaluation.PRESENT,
            key_images=(KeyImage(middle, heat_map, SQUARE),),
            image_probabilities=(0.9,) * len(stack.planes),
        )
        return Reading(
            self.identity, MANIFEST, series_instance_uid, {"normal": 0.1, "tumour": 0.9}, (finding,), seconds=0.1
        )


class StandInModels:
    """One model, always there."""

    def __init__(self, reader: StandInReader | None = None) -> None:
        self.manifests = {"stand_in": MANIFEST}
        self.unavailable: dict[str, str] = {}
        self.trouble = ""
        self.gpus: tuple[Gpu, ...] = ()
        self.stand_in = reader or StandInReader()

    def reader(self, name: str) -> StandInReader:
        assert name == "stand_in"
        return self.stand_in

    def shadow(self, name: str) -> None:
        return None


def refuse() -> None:
    raise NotApplicable("The images show a hand.")


def crash() -> None:
    raise RuntimeError("a bug in a model")


def folder_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())
