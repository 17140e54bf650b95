"""Starts other programs for the demonstration, and stops them with everything that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx


class ProcessError(Exception):
    """A program ended or did not become ready; the text names it and holds the end of its log."""


def free_port() -> int:
    """A TCP port of the loopback interface that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Process:
    """A program that runs while the context is open, in a process group of its own, its output in ``log``."""

    def __init__(
        self, name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name, self.log = name, log
        self._command, self._environment = list(command), environment
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process identifier of the program; its children share its process group."""
        if self._process is None:
            raise ProcessError(f"{self.name} is not running.")
        return self._process.pid

    def start(self) -> None:
        """Start the program; the log is appended to."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, stdout=output, stderr=subprocess.STDOUT, env=self._environment, start_new_session=True
            )

    def stop(self, patience_seconds: float = 30.0) -> None:
        """Ask the program to end; after ``patience_seconds`` end its whole process group."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def wait_until(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until ``ready`` answers true.

        Raises:
            ProcessError: the program ended, or was not ready in time.
        """
        deadline = time.monotonic() + seconds
        while not ready():
            self.check_running()
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.name} was not ready after {seconds:.0f} s. {self.last_words()}")
            time.sleep(0.1)

    def check_running(self) -> None:
        """Raise ``ProcessError`` where the program has ended."""
        if self._process is None or self._process.poll() is not None:
            status = "" if self._process is None else f" with status {self._process.returncode}"
            raise ProcessError(f"{self.name} ended{status}. {self.last_words()}")

    def last_words(self, lines: int = 20) -> str:
        """The end of the program's log, for an error message."""
        if not self.log.is_file():
            return "It has written no log."
        tail = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:]
        return "The end of its log:\n" + "\n".join(tail)


def answers(url: str) -> bool:
    """Whether an HTTP GET of ``url`` is answered with success."""
    try:
        return httpx.get(url, timeout=5.0).is_success
    except httpx.TransportError:
        return False


def listens(port: int) -> bool:
    """Whether something takes connections on a port of the loopback interface."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
