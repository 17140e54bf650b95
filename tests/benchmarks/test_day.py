from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks.day import Day


def test_arrivals_have_the_rate_asked_for_and_a_peak_in_the_morning() -> None:
    nothing: Any = SimpleNamespace()
    day = Day(nothing, Path("node.sqlite"), (), nothing)

    arrivals = [at for _ in range(40) for at in day.arrivals(rate=5.0, seconds=60.0)]

    assert len(arrivals) / 40 == pytest.approx(300, rel=0.05)
    morning = sum(15 <= at < 25 for at in arrivals)
    evening = sum(45 <= at < 55 for at in arrivals)
    assert morning > 1.5 * evening
