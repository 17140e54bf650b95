"""Faults that pass by themselves: a disk or a database that is full, read-only, locked or away. Work waits for them."""

from __future__ import annotations

import errno
import functools
import logging
import os
import signal
import sqlite3
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

import sqlalchemy as sa

log = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 30.0
_OF_THE_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT}
)


class Stoppable(Protocol):
    """What waits no longer once ``stopping`` is set."""

    stopping: threading.Event


S = TypeVar("S", bound=Stoppable)


def passes(error: BaseException) -> bool:
    """Whether the same may go well later. A broken file or statement fails as often as it is tried."""
    if isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.TimeoutError):
        code = getattr(getattr(error, "orig", None), "sqlite_errorcode", None)
        return code is None or code & 0xFF != sqlite3.SQLITE_ERROR  # which is a statement that is wrong
    return isinstance(error, OSError) and error.errno in _OF_THE_DISK


def in_words(error: BaseException) -> str:
    """The fault itself, on one line, without the statement or the file that met it."""
    cause = getattr(error, "orig", None) or getattr(error, "strerror", None) or type(error).__name__
    return " ".join(str(cause).split())


def patiently(body: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Repeat a step until no fault that passes stops it; while it waits, its study shows the state it has reached.

    The workflow engine's own retries would keep every error, and with them the images that it was about.
    """

    @functools.wraps(body)
    def repeat(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        # Where it is told to stop no outcome is written down: the next worker begins the step again.
        return until_it_passes(lambda: body(self, *args, **kwargs), body.__name__.strip("_"), self.stopping)

    return repeat


def until_it_passes(attempt: Callable[[], R], name: str, stopping: threading.Event) -> R:
    """Repeat ``attempt``, with growing pauses, until no fault that passes stops it; the log tells why ``name`` waits.

    Raises:
        SystemExit: told to stop meanwhile.
    """
    pause = _FIRST_PAUSE_SECONDS
    while True:
        try:
            return attempt()
        except Exception as error:
            if not passes(error):
                raise
            log.warning("%s is tried again in %.0f s: %s", name, pause, in_words(error))
        if stopping.wait(pause):
            raise SystemExit
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


def taken_up_again(body: Callable[P, R]) -> Callable[P, R]:
    """End the process where the workflow engine cannot write down what a workflow did: the next one takes it up.

    Steps wait for faults of the node's own disk and database, so those that arrive here are of the engine's.
    """

    @functools.wraps(body)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return body(*args, **kwargs)
        except Exception as error:
            if not passes(error):
                raise
            log.critical("the workflow engine's database does not work, so the worker ends: %s", in_words(error))
            os.kill(os.getpid(), signal.SIGTERM)
            raise SystemExit(1) from error

    return run
