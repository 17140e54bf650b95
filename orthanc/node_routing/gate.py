"""A gate before the node: while it cannot be reached, one study tries and the others wait."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from node_routing.settings import RetryPolicy


@dataclass(frozen=True, slots=True)
class Gate:
    """Open at first; closed for a growing time by each failure in a row; open for all after one success.

    Without it every waiting study would find out by itself that the node is down, each at the cost of a timeout.
    """

    failures: int = 0
    opens_at: datetime | None = None

    def admits(self, in_flight: int, at_most: int) -> bool:
        """Whether one more may be tried beside those ``in_flight``; after a failure only one at a time."""
        return in_flight < (1 if self.failures else at_most)

    def failed(self, policy: RetryPolicy, now: datetime) -> Gate:
        """Something was tried in vain."""
        failures = self.failures + 1
        return Gate(failures, now + policy.delay(failures))

    def passed(self) -> Gate:
        """Something worked."""
        return Gate()

    def ajar(self) -> Gate:
        """One may try at once."""
        return Gate(self.failures)
