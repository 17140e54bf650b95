"""What the lines of the log are about: a study, an association. Kept for a thread, or for a block of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

_ABOUT: ContextVar[Mapping[str, str]] = ContextVar("about", default={})  # noqa: B039 - it is never changed in place


def about() -> Mapping[str, str]:
    """What this thread is about at the moment, such as ``{"study": "1.2.3"}``; UIDs and names of peers, no patient."""
    return _ABOUT.get()


def say_about(**names: str) -> None:
    """Name what this thread is about from now on, as one that serves a single association does."""
    _ABOUT.set({**_ABOUT.get(), **names})


@contextmanager
def logged_about(**names: str) -> Iterator[None]:
    """Name what the lines that are logged inside are about."""
    token = _ABOUT.set({**_ABOUT.get(), **names})
    try:
        yield
    finally:
        _ABOUT.reset(token)
