"""Workers whose model sleeps: what is measured is how work spreads, not the speed of a model or of the processor.

``python -m benchmarks.sleeping_worker CONFIG SECONDS ID [ID ...]`` prints a line "ID PROCESS" for each worker. They are
forked before any thread starts, so that each costs no import of the libraries, and end with the first process.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Any

import numpy as np

from benchmarks.stand_in_manifest import MANIFEST
from dicom_node import liveness
from dicom_node.config import Config, load_config
from dicom_node.database import Database
from dicom_node.domain import Evaluation, Finding, Gpu, ImageStack, KeyImage, ModelIdentity, Reading
from dicom_node.logs import configure_logging
from dicom_node.worker import Worker

VERSION_VARIABLE = "SLEEPING_WORKER_VERSION"
"""The release that the workers pretend to be of, where it is set."""

SILENT_VARIABLE = "SLEEPING_WORKER_SILENT_SECONDS"
"""After how much silence they take one another for dead, where it is set; they beat six times as often."""


class SleepingModels:
    """One model, which takes ``seconds`` for any series and finds nothing."""

    def __init__(self, seconds: float) -> None:
        self.manifests = {"sleeper": MANIFEST}
        self.unavailable: dict[str, str] = {}
        self.trouble = ""
        self.gpus: tuple[Gpu, ...] = ()
        self._seconds = seconds
        self._identity = ModelIdentity("sleeper", "1.0", "0" * 64)
        self.bundle = SimpleNamespace(manifest=MANIFEST, identity=self._identity)

    def reader(self, name: str) -> SleepingModels:
        """The model itself."""
        return self

    def read(self, stack: ImageStack, series_instance_uid: str) -> Reading:
        """Sleep, and find nothing."""
        time.sleep(self._seconds)
        definition = MANIFEST.findings[0]
        finding = Finding(
            number=1,
            name=definition.name,
            label=definition.label,
            code=definition.code,
            site=definition.site,
            probability=0.1,
            operating_point_name="balanced",
            operating_point=definition.operating_points["balanced"],
            evaluation=Evaluation.ABSENT,
            key_images=(KeyImage(0, np.zeros(stack.pixels.shape[1:], np.float32), None),),
            image_probabilities=(0.1,) * len(stack.planes),
        )
        probabilities = {"normal": 0.9, "tumour": 0.1}
        return Reading(self._identity, MANIFEST, series_instance_uid, probabilities, (finding,), seconds=self._seconds)


def _work(config: Config, worker_id: str, seconds: float) -> None:
    own = config.model_copy(update={"worker": config.worker.model_copy(update={"id": worker_id})})
    models: Any = SleepingModels(seconds)
    Worker(own, Database(own.database_url), models).start()
    signal.pause()


def main(path: Path, seconds: float, worker_ids: list[str]) -> None:
    """Run the workers until they are told to stop."""
    config = load_config(path)
    liveness.__version__ = os.environ.get(VERSION_VARIABLE, liveness.__version__)  # type: ignore[attr-defined]
    if SILENT_VARIABLE in os.environ:
        liveness.SILENT_SECONDS = float(os.environ[SILENT_VARIABLE])
        liveness.BEAT_SECONDS = liveness.SILENT_SECONDS / 6
    configure_logging("WARNING")
    Database(config.database_url).create_tables()
    lives = []
    for worker_id in worker_ids:
        process = os.fork()
        if process == 0:
            _work(config, worker_id, seconds)
        lives.append(process)
        sys.stdout.write(f"{worker_id} {process}\n")
    sys.stdout.flush()

    def end(_number: int, _frame: FrameType | None) -> None:
        for life in lives:
            try:
                os.kill(life, signal.SIGKILL)
            except ProcessLookupError:
                continue
        os._exit(0)

    signal.signal(signal.SIGTERM, end)
    while True:
        signal.pause()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:])
