"""A worker with a stand-in for the models that crashes on chosen series, started again whenever it ends.

``python -m tests.faults.mortal_worker CONFIG [SERIES ...]``. Each life is a process of its own, forked
before any thread starts, so that a death costs no second import of the libraries.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicom_node.config import Config, load_config
from dicom_node.database import Database
from dicom_node.domain import ImageStack, Reading
from dicom_node.lifecycle import trainer
from dicom_node.worker import Worker
from tests.stand_ins import StandInModels, StandInReader


class PoisonedReader(StandInReader):
    """Dies on some series as a decoder does."""

    def __init__(self, poison: list[str]) -> None:
        super().__init__(seconds=0.2)
        self._poison = poison

    def read(self, stack: ImageStack, series_instance_uid: str) -> Reading:
        if series_instance_uid in self._poison:
            os.kill(os.getpid(), signal.SIGSEGV)
        return super().read(stack, series_instance_uid)


def _live(config: Config, poison: list[str]) -> None:
    models = StandInModels(PoisonedReader(poison))
    Worker(config, Database(config.database_url), models).start()  # type: ignore[arg-type]
    signal.pause()


@contextmanager
def mortal_worker(config: Config, folder: Path) -> Iterator[int]:
    """The process, over a configuration's folders, by the id of what begins each life."""
    configuration = folder / "node.yaml"
    configuration.write_text(config.model_dump_json(include={"node": {"data_folder", "models_folder"}}))
    process = subprocess.Popen([sys.executable, "-m", "tests.faults.mortal_worker", str(configuration)])
    try:
        yield process.pid
    finally:
        process.terminate()
        process.wait()


def main(config: Config, poison: list[str]) -> None:
    trainer._LOWEST_PRIORITY = []  # on a busy machine it would take for ever
    while True:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            _live(config, poison)
        signal.signal(signal.SIGTERM, lambda *_, life=child: (os.kill(life, signal.SIGKILL), os._exit(0)))
        os.waitpid(child, 0)
        time.sleep(0.2)


if __name__ == "__main__":
    main(load_config(Path(sys.argv[1])), sys.argv[2:])
