"""Competitors measured in turn, so that what else the machine does meets each of them alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median


def interleaved(competitors: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Run each competitor once a round and collect what each returns (seconds, as a rule).

    Every round begins with another competitor, so that none always profits from being second.
    """
    figures: dict[str, list[float]] = {name: [] for name in competitors}
    names = list(competitors)
    for number in range(rounds):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            figures[name].append(competitors[name]())
    return figures


def medians(figures: Mapping[str, list[float]]) -> dict[str, float]:
    """The median of each competitor's figures."""
    return {name: median(values) for name, values in figures.items()}
