"""A thread that does one thing again and again, and outlives what goes wrong with it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from dicom_node.passing import in_words, passes

log = logging.getLogger(__name__)

_LEAST_PAUSE_SECONDS = 2.0
"""After a fault: whatever is looked at every few milliseconds need not be asked for so often while it is away."""


class Periodic:
    """Calls ``body`` every ``seconds``, the first time after these, until it is stopped.

    Faults that pass by themselves, such as a database that is away, are said once in a line, and once that they are
    over; any other is logged with its trace, each time. ``seconds`` may be changed meanwhile.
    """

    def __init__(self, name: str, seconds: float, body: Callable[[], object]) -> None:
        self.stopping = threading.Event()
        self._name = name
        self.seconds = seconds
        self._body = body
        self._waits = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the call that is under way; ``stopping`` tells it to be quick."""
        self.stopping.set()
        self._thread.join()

    def _run(self) -> None:
        pause = self.seconds
        while not self.stopping.wait(pause):
            pause = self.seconds if self._goes_well() else max(self.seconds, _LEAST_PAUSE_SECONDS)

    def _goes_well(self) -> bool:
        try:
            self._body()
        except Exception as error:  # a thread that ended would be missed only when its work is
            if not passes(error):
                log.exception("%s failed; it goes on in a moment", self._name)
            elif not self._waits:
                log.error("%s waits: %s", self._name, in_words(error))
                self._waits = True
            return False
        if self._waits:
            log.info("%s goes on", self._name)
            self._waits = False
        return True
