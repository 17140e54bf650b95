"""The log on standard error: text for people at a terminal, JSON for machines; it quotes no patient data.

Not even where the errors of libraries do.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
import warnings
from datetime import UTC, datetime
from types import TracebackType
from typing import Literal

from dicom_node.log_context import about

_QUOTE_VALUES = (ValueError, TypeError, LookupError, AttributeError, NotImplementedError, AssertionError)
"""Errors whose text tends to quote the value that they are about, which may be a patient's name."""


class QuietFormatter(logging.Formatter):
    """Writes where an error happened and of what kind it is, but not the values that it quotes."""

    def formatException(  # noqa: N802 - the name that logging gives it
        self, ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
    ) -> str:
        """The stack of an error and of those before it."""
        error: BaseException | None = ei[1]
        parts: list[str] = []
        while error is not None and len(parts) < 5:
            stack = "".join(traceback.format_tb(error.__traceback__))
            parts.append(f"Traceback (most recent call last):\n{stack}{_in_words(error)}")
            error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        return "\n\nwhich followed from:\n\n".join(parts)


def _in_words(error: BaseException) -> str:
    kind = type(error)
    if isinstance(error, _QUOTE_VALUES) or kind.__module__.partition(".")[0] in {"pydicom", "highdicom"}:
        return f"{kind.__qualname__} (its text is left out: it may quote patient data)"
    return f"{kind.__qualname__}: {error}"


class TextFormatter(QuietFormatter):
    """A line for people, with what it is about at its end."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name that logging gives it
        """The line without the stack of its error."""
        names = " ".join(f"{name}={value}" for name, value in about().items())
        return super().formatMessage(record) + (f" [{names}]" if names else "")


class JsonFormatter(QuietFormatter):
    """A JSON object on a line; what it is about stands beside its time, level, logger and message."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "process": record.process,
            **about(),
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def formatter(form: Literal["auto", "text", "json"], *, at_a_terminal: bool) -> QuietFormatter:
    """Text for people, JSON for machines; ``auto`` goes by where the log is read."""
    return TextFormatter() if form == "text" or (form == "auto" and at_a_terminal) else JsonFormatter()


def configure_logging(level: str, form: Literal["auto", "text", "json"] = "auto") -> None:
    """Log to standard error. Libraries that would print data sets or their values are kept quiet.

    ``auto`` is text at a terminal and JSON elsewhere.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(form, at_a_terminal=sys.stderr.isatty()))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"pydicom\.")
