"""Decides from the distribution of a difference: better, comparable within a margin, or neither."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.statistics.mixture import Mixture

LEVEL = 0.05
CONFIDENCE = 1 - LEVEL


@dataclass(frozen=True)
class Difference:
    """A method's metric minus the baseline's, with its 95 % interval."""

    metric: str
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Judgement:
    """What several comparisons together allow to say about one of them.

    Attributes:
        p_different: corrected by Holm's method, as is `p_equivalent`.
        outcome: `equivalent`, `better`, `worse` or `undecided`.
        confidence: the level of the interval that belongs to the outcome (`judge`).
    """

    p_different: float
    p_equivalent: float
    outcome: str
    confidence: float


def p_different(difference: Mixture) -> float:
    """The two-sided p-value of no difference."""
    return min(1.0, 2 * difference.tail(abs(difference.value)))


def p_equivalent(difference: Mixture, margin: float) -> float:
    """Two one-sided tests against -margin and margin: the larger p-value (Schuirmann 1987)."""
    return difference.tail(margin - abs(difference.value))


def holm(p: Sequence[float]) -> list[float]:
    """Correct p-values for the number of tests (Holm 1979).

    A false claim among all tests is then as rare as for a single test.
    """
    order = np.argsort(p)
    scaled = np.asarray(p)[order] * np.arange(len(p), 0, -1)
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(1, np.maximum.accumulate(scaled))
    return [float(value) for value in adjusted]


def holm_levels(p: Sequence[float]) -> list[float]:
    """The level at which Holm's method tests each hypothesis.

    The smallest p-value of m is tested at 5 % / m, the next one at 5 % / (m - 1), and so on. The
    first one that is not rejected ends this: all that follow keep its level.
    """
    levels = np.empty(len(p))
    level, ended = LEVEL / max(1, len(p)), False
    for rank, place in enumerate(np.argsort(p, kind="stable")):
        if not ended:
            level = LEVEL / (len(p) - rank)
            ended = p[place] >= level
        levels[place] = level
    return [float(each) for each in levels]


def judge(differences: Sequence[Mixture], margin: float) -> list[Judgement]:
    """The outcome of each comparison of a family, and the level of the interval that shows it.

    A difference that is surely within the margin is equivalent, even if it surely exists. The
    interval never contradicts the outcome:

    - better or worse: it excludes 0. Its level is that of all comparisons at once (5 % / m), or
      that of Holm's step if only that excludes 0.
    - equivalent: it lies within the margin. Its level is 1 - 2 times that of Holm's step, because
      it shows two one-sided tests.
    - undecided: it contains 0 and reaches beyond the margin.
    """
    differ = [p_different(each) for each in differences]
    equal = [p_equivalent(each, margin) for each in differences]
    judged = []
    for each, p, p_step, p_holm, q_step, q_holm in zip(
        differences, differ, holm_levels(differ), holm(differ), holm_levels(equal), holm(equal),
        strict=True,
    ):  # fmt: skip
        if q_holm < LEVEL:
            result = "equivalent"
            level = max(2 * q_step, p_step if p_holm < LEVEL else 0.0)
        elif p_holm < LEVEL:
            result = "better" if each.value > 0 else "worse"
            all_at_once = LEVEL / len(differences)
            level = all_at_once if p < all_at_once else p_step
        else:
            result = "undecided"
            level = min(p_step, 2 * q_step)
        judged.append(Judgement(p_holm, q_holm, result, 1 - level))
    return judged
