"""How often somebody may guess a password: attempts counted by address, and by address and name."""

from __future__ import annotations

import time

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

_BY_ADDRESS_AND_NAME = RateLimitItemPerMinute(5)
_BY_ADDRESS = RateLimitItemPerMinute(20)


class Throttle:
    """Counts attempts in this process, before they are looked at.

    No limit counts by name alone: anybody on the network could then keep the administrator out.
    """

    def __init__(self) -> None:
        self._windows = MovingWindowRateLimiter(MemoryStorage())

    def attempt(self, address: str, name: str) -> int:
        """Count an attempt; 0 where it may be looked at, else the seconds to wait."""
        limits: tuple[tuple[RateLimitItem, tuple[str, ...]], ...] = (
            (_BY_ADDRESS_AND_NAME, ("both", address, name)),
            (_BY_ADDRESS, ("address", address)),
        )
        for limit, keys in limits:
            if not self._windows.hit(limit, *keys):
                reset = self._windows.get_window_stats(limit, *keys).reset_time
                return max(1, round(reset - time.time()))
        return 0

    def forgive(self, address: str, name: str) -> None:
        """Forget the attempts of a name from an address, which has now shown that it knows the password."""
        self._windows.clear(_BY_ADDRESS_AND_NAME, "both", address, name)
