"""Where the files of instances and results are for whoever reads them: in the data folder, or fetched into it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Protocol


class NotStored(Exception):
    """Files that rows name cannot be had, or are not what was stored; the text says which, as a sentence."""


class StoredFiles(Protocol):
    """The files of instances and results, by their paths in the data folder."""

    def at_hand(self, paths: Iterable[Path]) -> AbstractContextManager[None]:
        """Have these files in the data folder, whole, for as long as the context lasts.

        Raises:
            NotStored: some are nowhere, or damaged.
            OSError: they cannot be had now (``passing.passes``).
        """

    def share(self, path: Path) -> Path:
        """Let every host see a finished result file; returns under which path, for its row. It is durable then.

        Raises:
            OSError: that cannot be done now (``passing.passes``).
        """

    def held(self, paths: Iterable[Path]) -> set[Path]:
        """Those of the files that are there.

        Raises:
            OSError: that cannot be told now (``passing.passes``).
        """

    def remove(self, paths: Iterable[Path]) -> None:
        """Remove what is held of these files outside of the data folder.

        Raises:
            OSError: that cannot be done now; some may be left.
        """

    def stored_before(self, at: datetime) -> Iterator[Sequence[Path]]:
        """What is held outside of the data folder and was put there before ``at``, some files at a time.

        Raises:
            OSError: that cannot be told now (``passing.passes``).
        """


class InFolder:
    """All files lie in the data folder, which every host sees: nothing is to be done for them."""

    def at_hand(self, paths: Iterable[Path]) -> AbstractContextManager[None]:
        """They are; what is missing is found by its reader."""
        return nullcontext()

    def share(self, path: Path) -> Path:
        """It is."""
        return path

    def held(self, paths: Iterable[Path]) -> set[Path]:
        """Those that lie there."""
        return {path for path in paths if path.is_file()}

    def remove(self, paths: Iterable[Path]) -> None:
        """Nothing is held elsewhere."""

    def stored_before(self, at: datetime) -> Iterator[Sequence[Path]]:
        """Nothing is held elsewhere."""
        return iter(())
