"""How far Orthanc's log of changes has been read, and from where it must be read again after a restart."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

SETTLING_MARGIN = timedelta(seconds=3)
"""Orthanc looks for stable studies once a second, and dates changes to the second."""


@dataclass(frozen=True, slots=True)
class Change:
    """One line of Orthanc's log of changes; ``date`` has no zone, and a second's precision."""

    number: int
    kind: str
    level: str
    identifier: str
    date: datetime


class History:
    """Owns the place in the log.

    Orthanc keeps in memory only which studies still wait to become stable, so a restart would leave them waiting
    for ever. A change therefore counts as read for good only when the studies that it made unstable have had the
    time to become stable (``StableAge``).
    """

    def __init__(self, stable_age: timedelta, watermark: int) -> None:
        self.cursor = watermark
        self._settled = watermark
        self._settling = stable_age + SETTLING_MARGIN
        self._read: deque[tuple[datetime, int]] = deque()

    def advance(self, number: int, now: datetime) -> None:
        """Change ``number`` has been read."""
        self.cursor = number
        self._read.append((now, number))

    def watermark(self, pending: Iterable[int], now: datetime) -> int:
        """Where to start reading after a restart, when the changes ``pending`` have studies with steps left."""
        while self._read and self._read[0][0] <= now - self._settling:
            self._settled = self._read.popleft()[1]
        return min(self._settled, *(number - 1 for number in pending), self.cursor)

    def interrupted(self, changes: Iterable[Change]) -> Iterator[Change]:
        """Of the changes since the watermark: those that speak of a study, and the last instances to arrive.

        The studies of those instances may have been waiting to become stable when Orthanc stopped.
        """
        latest: deque[Change] = deque()
        for change in changes:
            if change.level == "Study":
                yield change
            if change.kind == "NewInstance":
                latest.append(change)
            while latest and latest[0].date < change.date - self._settling:
                latest.popleft()
        yield from latest
