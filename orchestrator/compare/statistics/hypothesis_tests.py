"""Decides from the draws of a difference: better, comparable within a margin, or undecided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.statistics.bootstrap import Draws

LEVEL = 0.05
CONFIDENCE = 1 - LEVEL
#: The probability with which the estimated number of seeds decides.
POWER = 0.8
_MOST_SEEDS = 1000


@dataclass(frozen=True)
class Difference:
    """A method's metric minus the baseline's, with its 95 % interval."""

    metric: str
    value: float
    low: float
    high: float


def p_different(draws: np.ndarray) -> float:
    """The two-sided p-value, from the share of draws beyond 0."""
    tail = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
    return min(1.0, 2 * (tail + 1) / (len(draws) + 1))


def p_equivalent(draws: np.ndarray, margin: float) -> float:
    """Two one-sided tests against -margin and margin: the larger p-value (Schuirmann 1987)."""
    outside = max(int((draws <= -margin).sum()), int((draws >= margin).sum()))
    return (outside + 1) / (len(draws) + 1)


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for the number of tests (Holm 1979).

    A false claim among all tests is then as rare as for a single test.
    """
    order = np.argsort(p)
    scaled = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]


def outcome(value: float, p_difference: float, p_equivalence: float) -> str:
    """`equivalent`, `better`, `worse` or `undecided`.

    A difference that is surely within the margin is equivalent, even if it surely exists.
    """
    if p_equivalence < LEVEL:
        return "equivalent"
    if p_difference < LEVEL:
        return "better" if value > 0 else "worse"
    return "undecided"


def seeds_needed(value: float, draws: Draws, margin: float) -> int | None:
    """The number of seeds that decides with a probability of 80 % if the difference is `value`.

    None if no number decides (the dev set is too small), or if there is only one seed to estimate
    from. With N seeds the standard error is sqrt(variance between seeds / N + shared variance).
    """
    from scipy import special  # it takes half a second to load

    if draws.seeds is None:
        return None
    counts = np.arange(max(2, draws.count + 1), _MOST_SEEDS + 1)
    error = np.sqrt(draws.seeds * draws.count / counts + draws.shared)
    power = special.stdtrit(counts - 1, POWER)
    different = (special.stdtrit(counts - 1, 1 - LEVEL / 2) + power) * error <= abs(value)
    equivalent = (special.stdtrit(counts - 1, 1 - LEVEL) + power) * error <= margin - abs(value)
    enough = different | equivalent
    return int(counts[enough.argmax()]) if enough.any() else None
