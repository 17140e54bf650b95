"""Keeps the receiver, the worker and the web process running under one command."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from dicom_node.parent import PARENT_VARIABLE

log = logging.getLogger(__name__)

_FIRST_PAUSE_SECONDS = 0.5
_LONGEST_PAUSE_SECONDS = 30.0
_STABLE_SECONDS = 60.0
_STOP_SECONDS = 20.0


class Child:
    """One supervised process and the pause before it is started again."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0
        self._restart_at = 0.0
        self._pause = _FIRST_PAUSE_SECONDS

    def tend(self, now: float) -> None:
        """Start the process if it does not run and its pause is over; notice its end."""
        if self._process is not None:
            status = self._process.poll()
            if status is None:
                return
            self._process = None
            if now - self._started >= _STABLE_SECONDS:
                self._pause = _FIRST_PAUSE_SECONDS
            log.error("%s ended (%s); starting it again in %.1f s", self.name, _ending(status), self._pause)
            self._restart_at = now + self._pause
            self._pause = min(2 * self._pause, _LONGEST_PAUSE_SECONDS)
        if now >= self._restart_at:
            environment = {**os.environ, PARENT_VARIABLE: str(os.getpid())}
            # A session of its own keeps Ctrl-C from reaching the child before the supervisor stops it in order.
            self._process = subprocess.Popen(self._command, env=environment, start_new_session=True)
            self._started = now
            log.info("%s started (process %d)", self.name, self._process.pid)

    def ask_to_stop(self) -> None:
        """Send SIGTERM."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def wait(self, deadline: float) -> None:
        """Wait for the end until ``deadline`` (monotonic seconds), then kill."""
        if self._process is None:
            return
        try:
            self._process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("%s did not stop in time and is killed", self.name)
            self._process.kill()
            self._process.wait()


def supervise(config_path: Path | None, receivers: int = 1) -> None:
    """Run receiver (``receivers`` of them), worker and web until SIGTERM or SIGINT; each is started again."""
    options = ["--config", str(config_path)] if config_path is not None else []
    children = [
        Child(name, [sys.executable, "-m", "dicom_node", name, *options])
        for name in (*["receiver"] * receivers, "worker", "web")
    ]
    stopping = stop_event()
    while not stopping.is_set():
        for child in children:
            child.tend(time.monotonic())
        stopping.wait(0.2)
    log.info("stopping")
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + _STOP_SECONDS
    for child in children:
        child.wait(deadline)


def stop_event() -> threading.Event:
    """An event that SIGTERM and SIGINT set from now on."""
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _ending(status: int) -> str:
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
