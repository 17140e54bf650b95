"""Runs ``python -m training`` beside the node: a process of its own that ends with it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from dicom_node.parent import PARENT_VARIABLE

_LOOK_SECONDS = 0.5
_END_SECONDS = 20.0
_LOWEST_PRIORITY = ["nice", "-n", "19"]
_NEEDED = ("training", "sklearn", "matplotlib", "mlflow", "torch")
_MOST_WORDS = 500


class NotInstalled(Exception):
    """Training is not installed here; the text says how it is."""


class Stopped(Exception):
    """The training was told to end before it had."""


class TrainingFailed(Exception):
    """A training command failed; the text is what it said last."""


def check_installed() -> None:
    """Make sure that there is something to run.

    Raises:
        NotInstalled: the packages that training needs are missing.
    """
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise NotInstalled(
            f"Training is not installed on this host ({', '.join(missing)} missing): "
            "pip install 'dicom-node[training]'."
        )


def run_training(
    arguments: Sequence[str],
    log: Path,
    told_to_stop: Callable[[], bool] = lambda: False,
    *,
    somebody_waits: bool = False,
) -> None:
    """Run one command to its end, at the lowest priority unless ``somebody_waits``; what it says is added to ``log``.

    It has half of the processors at most, so that the models that read studies have the other half even where the
    system knows no priorities.

    Raises:
        NotInstalled: training is not installed here.
        Stopped: ``told_to_stop`` said so; the process has ended.
        TrainingFailed: it failed.
    """
    check_installed()
    threads = str(max(1, (os.cpu_count() or 1) // 2))
    environment = {**os.environ, PARENT_VARIABLE: str(os.getpid()), "OMP_NUM_THREADS": threads}
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        begins = file.tell()
        process = subprocess.Popen(
            [*([] if somebody_waits else _LOWEST_PRIORITY), sys.executable, "-m", "training", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            while process.poll() is None:
                if told_to_stop():
                    raise Stopped
                try:
                    process.wait(_LOOK_SECONDS)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            _end(process)
    if process.returncode != 0:
        raise TrainingFailed(_last_words(log, begins) or f"{arguments[0]} ended with status {process.returncode}.")


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _last_words(log: Path, begins: int) -> str:
    """The last line that the command wrote."""
    with log.open("rb") as file:
        file.seek(begins)
        lines = file.read().decode("utf-8", "replace").splitlines()
    return next((line.strip()[:_MOST_WORDS] for line in reversed(lines) if line.strip()), "")
