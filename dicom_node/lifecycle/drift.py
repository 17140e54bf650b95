"""Whether what a model is given still is what it was made for: population stability, from a few figures an input."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dicom_node.domain import FloatArray

Features = Mapping[str, float | str | None]

NUMBERS = ("age", "brightness", "contrast", "dark", "bright")
WORDS = ("sex", "manufacturer")
PIXELS = ("brightness", "contrast", "dark", "bright")
IN_WORDS = {
    "age": "Age of the patient",
    "sex": "Sex of the patient",
    "manufacturer": "Manufacturer",
    "brightness": "Brightness (mean grey)",
    "contrast": "Contrast (spread of grey)",
    "dark": "Darkest parts (5th percentile)",
    "bright": "Brightest parts (95th percentile)",
}

ALERT = 0.2
"""The customary limit of the population stability index above which a population has shifted."""

MINIMUM_CASES = 300
"""Of either side. Of two samples of this size from one population, ten bins give an index of 0.06 by chance alone, and
hardly ever one of 0.2."""

_BINS = 10
_SIDE = 512
_FEW = 0.5  # added to every count, so that a bin that is empty on one side does not make the index infinite


@dataclass(frozen=True, slots=True)
class Distribution:
    """How a figure is spread: the cases in each bin, between the ``edges`` of numbers or of each of ``values``.

    Words that are not among ``values`` count in a last bin of their own.
    """

    counts: tuple[int, ...]
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()

    @property
    def cases(self) -> int:
        """How many were counted."""
        return sum(self.counts)

    def counted(self, values: Sequence[float | str]) -> tuple[int, ...]:
        """How many of other values lie in each of these bins."""
        if self.edges:
            at = np.searchsorted(self.edges, [float(value) for value in values], side="right")
            return tuple(np.bincount(at, minlength=len(self.edges) + 1).tolist())
        count = Counter(str(value) for value in values)
        known = [count[value] for value in self.values]
        return (*known, count.total() - sum(known))


@dataclass(frozen=True, slots=True)
class Stability:
    """One figure held against its reference; ``index`` is None where either side has too few cases to say."""

    feature: str
    index: float | None
    cases: int
    reference_cases: int
    of_training: bool

    @property
    def has_shifted(self) -> bool:
        """Whether somebody should look."""
        return self.index is not None and self.index > ALERT


def pixel_features(grey: FloatArray) -> dict[str, float]:
    """Brightness, contrast and the ends of the grey scale of one image: display grey (H, W) in [0, 1]."""
    step = max(1, max(grey.shape) // _SIDE)  # a large radiograph would take a tenth of a second
    grey = np.nan_to_num(grey[::step, ::step])
    dark, bright = np.percentile(grey, (5, 95))
    figures = {"brightness": grey.mean(), "contrast": grey.std(), "dark": dark, "bright": bright}
    return {name: round(float(figure), 4) for name, figure in figures.items()}


def distributions(cases: Sequence[Features]) -> dict[str, Distribution]:
    """How the figures of these cases are spread, by name; those that no case has are left out."""
    found: dict[str, Distribution] = {}
    for name in (*NUMBERS, *WORDS):
        values = [value for case in cases if (value := case.get(name)) is not None]
        if values and name in NUMBERS:
            quantiles = np.quantile([float(value) for value in values], np.linspace(0, 1, _BINS + 1)[1:-1])
            edges = tuple(float(edge) for edge in np.unique(quantiles))
            empty = Distribution((0,), edges=edges)
            found[name] = Distribution(empty.counted(values), edges=edges)
        elif values:
            known = tuple(str(value) for value, _ in Counter(values).most_common(_BINS - 1))
            empty = Distribution((0,), values=known)
            found[name] = Distribution(empty.counted(values), values=known)
    return found


def population_stability(expected: Sequence[int], actual: Sequence[int]) -> float:
    """Return the population stability index of two counts over the same bins (Siddiqi, Credit Risk Scorecards, 2006).

    It is the symmetrised Kullback-Leibler divergence of their shares: 0 where they are the same.
    """
    e, a = (np.asarray(counts, dtype=np.float64) + _FEW for counts in (expected, actual))
    e, a = e / e.sum(), a / a.sum()
    return float(np.sum((a - e) * np.log(a / e)))


def stability(
    reference: Mapping[str, Distribution], cases: Sequence[Features], *, of_training: bool
) -> list[Stability]:
    """Hold cases against a reference, figure by figure."""
    rows = []
    for name, distribution in reference.items():
        values = [value for case in cases if (value := case.get(name)) is not None]
        enough = len(values) >= MINIMUM_CASES and distribution.cases >= MINIMUM_CASES
        index = population_stability(distribution.counts, distribution.counted(values)) if enough else None
        rows.append(Stability(name, index, len(values), distribution.cases, of_training))
    return rows


def in_years(age: float | None) -> float | None:
    """An age as it is kept: whole years, and 90 for all above, since so high an age may identify a patient."""
    return None if age is None or math.isnan(age) else float(min(90, math.floor(age)))
