"""The log: lines on standard error that quote no patient data, not even where libraries' errors do."""

from __future__ import annotations

import logging
import traceback
import warnings
from types import TracebackType

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


def configure_logging(level: str) -> None:
    """Log to standard error. Libraries that would print data sets or their values are kept quiet."""
    handler = logging.StreamHandler()
    handler.setFormatter(QuietFormatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("pynetdicom").setLevel(logging.CRITICAL)
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    logging.getLogger("highdicom").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", module=r"pydicom\.")
