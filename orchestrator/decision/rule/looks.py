"""The rule that ends confirming: is the difference surely not 0, or surely within the margin?

At each planned look the rule tests both with one-sided tests, whose boundaries spend alpha over the
looks.  It stops at the first answer, at the last look, or where no answer is likely any more
(futility; no promise depends on it).

The variance of the pairs is moderated by the search's trials (Smyth 2004, see
`compare/statistics/pooled_variance`).  Several methods share alpha (`alpha_budget`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.compare.statistics.pooled_variance import PriorVariance
from orchestrator.decision.rule.alpha_budget import AlphaBudget
from orchestrator.decision.rule.design import Data, Design, Levels, Look
from orchestrator.decision.rule.repeated_intervals import (
    FEWEST,
    HalfWidths,
    Variance,
    chance_of_answer,
    half_widths,
)
from orchestrator.decision.rule.states import answers_of, state_of

#: The search's trials count as at most this many degrees of freedom.  They cannot know the variance
#: of a method that differs from the others, and error control comes before power.
MOST_PRIOR_DF = 5.5
#: The variance that the search's trials show is multiplied by this before it counts, for the same
#: reason.
PRIOR_FACTOR = 1.25
#: Where the search says nothing about the variance, only these shares of the levels are spent, for
#: 0 and for the margin: the pairs alone must show it, and skewed pairs show too little of it.
SHARES_WITHOUT_PRIOR = (0.85, 0.425)
#: Stop if no look that is left gives an answer with at least this probability.
FUTILE = 0.05


def judge(
    design: Design,
    differences: Sequence[float],
    shared: Sequence[float],
    prior: PriorVariance,
) -> list[Look]:
    """Take all looks that the data allow, until one is final.

    Args:
        design: what is planned.
        differences: metric of the method minus that of the baseline for each pair, in the order of
            the seeds; NaN where one diverged.
        shared: variance over dev examples that all seeds share, for each look taken.
        prior: of the variance of a pair.
    """
    return _judged(design, (differences, shared), prior, design.levels)


def judge_all(
    design: Design,
    by_method: Mapping[str, Data],
    prior: PriorVariance,
    share: Literal["holm", "in_order"] = "holm",
) -> dict[str, list[Look]]:
    """Take the looks of several methods, each against the baseline.

    `holm`: all open methods take a look together; the next one is taken when all have its data.
    `in_order`: a method is judged when the one before it has an answer; until then it has no looks.
    """
    budget = AlphaBudget(design, list(by_method), share)
    looks: dict[str, list[Look]] = {method: [] for method in by_method}
    if share == "in_order":
        for method, data in by_method.items():
            looks[method] = _judged(design, data, prior, budget.levels[method])
            if not looks[method] or looks[method][-1].state == "open":
                break
            budget.answered(method, looks[method][-1])
        return looks
    for number in range(len(design.looks)):
        taking = [method for method in by_method if not _over(looks[method])]
        if not all(_complete(design, by_method[method], number) for method in taking):
            break
        while True:
            current = {
                method: _look(design, by_method[method], prior, budget.levels[method], number)
                for method in taking
            }
            answered = [method for method in taking if current[method].state != "open"]
            if not answered:
                break
            # Alpha that an answer sets free may answer another method at the same look.
            for method in answered:
                looks[method].append(current[method])
                taking.remove(method)
                budget.answered(method, current[method])
        for method in taking:
            looks[method].append(current[method])
    return looks


def _judged(design: Design, data: Data, prior: PriorVariance, levels: Levels) -> list[Look]:
    """The looks of one method with fixed levels, until one is final."""
    looks: list[Look] = []
    while not _over(looks) and _complete(design, data, len(looks)):
        looks.append(_look(design, data, prior, levels, len(looks)))
    return looks


def _over(looks: list[Look]) -> bool:
    return bool(looks) and looks[-1].final


def _complete(design: Design, data: Data, number: int) -> bool:
    """Whether a look (from 0) is planned and its data are there."""
    differences, shared = data
    if number >= len(design.looks):
        return False
    return len(differences) >= design.looks[number] and len(shared) > number


@dataclass(frozen=True)
class Evidence:
    """What the pairs of a look show.

    Attributes:
        counts: pairs at each look: those that were there, and those that are expected.
    """

    design: Design
    levels: Levels
    counts: tuple[int, ...]
    estimate: float
    variance: Variance

    def widths(self, number: int) -> HalfWidths:
        """Half widths of the intervals at this look or a later one (from 0)."""
        return half_widths(self.counts, self.levels, self.variance, number)

    def futile(self, number: int) -> bool:
        """Whether no look after this one is likely to answer."""
        for later in reversed(range(number + 1, len(self.counts))):
            ranges = answers_of(self.design, self.widths(later))
            chance = chance_of_answer(self.estimate, self.variance, self.counts[later], ranges)
            if chance >= FUTILE:
                return False
        return True


def evidence(
    design: Design, data: Data, prior: PriorVariance, levels: Levels, number: int
) -> Evidence | None:
    """What the pairs of a look (from 0) show; None if there are too few."""
    differences, shared = np.asarray(data[0], float), data[1]
    usable = np.isfinite(differences)
    counts = [int(usable[:planned].sum()) for planned in design.looks[: number + 1]]
    pairs, planned = counts[number], design.looks[number]
    if pairs < FEWEST:
        return None
    values = differences[:planned][usable[:planned]]
    variance = _variance(values, prior, shared[number])
    # No pair that is still to come is expected to diverge.
    counts += [pairs + later - planned for later in design.looks[number + 1 :]]
    return Evidence(design, _trusted(levels, prior), tuple(counts), float(values.mean()), variance)


def _look(design: Design, data: Data, prior: PriorVariance, levels: Levels, number: int) -> Look:
    """What the rule concludes at a look (from 0)."""
    planned, last = design.looks[number], number + 1 == len(design.looks)
    shown = evidence(design, data, prior, levels, number)
    if shown is None:
        values = [value for value in data[0][:planned] if math.isfinite(value)]
        estimate = values[0] if values else math.nan
        return Look(
            number + 1, planned, len(values), estimate, -math.inf, math.inf, "open", last, False
        )
    state, low, high = state_of(design, shown.estimate, shown.widths(number))
    futile = state == "open" and not last and shown.futile(number)
    final = state != "open" or futile or last
    pairs = shown.variance.count
    return Look(number + 1, planned, pairs, shown.estimate, low, high, state, final, futile)


def _trusted(levels: Levels, prior: PriorVariance) -> Levels:
    """What may be spent of the levels, by how much the search says about the variance."""
    known = min(1.0, prior.df / MOST_PRIOR_DF)
    zero, margin = (round(share + (1 - share) * known, 3) for share in SHARES_WITHOUT_PRIOR)
    return levels[0] * zero, levels[1] * margin


def _variance(values: np.ndarray, prior: PriorVariance, shared: float) -> Variance:
    """The variance of a pair, moderated by the search, but never below what the pairs show."""
    own = float(values.var(ddof=1))
    careful = PriorVariance(PRIOR_FACTOR * prior.variance, min(prior.df, MOST_PRIOR_DF))
    moderated, df = careful.posterior(own, len(values) - 1)
    return Variance(max(own, moderated), df, len(values), max(0.0, shared))
