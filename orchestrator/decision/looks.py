"""The rule that ends confirming: is the difference surely not 0, or surely within the margin?

At each planned look the rule tests both, one-sided at alpha / 2, with boundaries that spend alpha
over the looks.  It stops at the first answer, at the last look, or where no answer is likely any
more (futility; no promise depends on it).

The variance of the pairs is moderated by the search's trials (Smyth 2004, see
`compare/statistics/pooled_variance`).  Several methods share alpha: each starts with its share, and
a method that has its answer passes alpha on (Holm 1979; for looks Maurer and Bretz 2013, Statistics
in Biopharmaceutical Research 5, 311-320).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orchestrator.compare.statistics.pooled_variance import PriorVariance
from orchestrator.decision.repeated_intervals import (
    FEWEST,
    MARGIN_POWER,
    ZERO_POWER,
    HalfWidths,
    Variance,
    chance_of_answer,
    half_widths,
)

#: The search's trials count as at most this many degrees of freedom.  They cannot know the variance
#: of a method that differs from the others, and error control comes before power.
MOST_PRIOR_DF = 4.0
#: Stop if no look that is left gives an answer with at least this probability.
FUTILE = 0.05


@dataclass(frozen=True)
class Design:
    """What is planned.

    Attributes:
        looks: numbers of pairs after which the rule looks.
        margin: a difference up to this size does not matter.
        ask: `minutes` asks whether a method reaches the baseline's score, `score` whether its score
            differs.
        alpha: the probability of a false claim of one kind, both directions together.
    """

    looks: tuple[int, ...]
    margin: float
    ask: Literal["minutes", "score"]
    alpha: float = 0.05


@dataclass(frozen=True)
class Look:
    """What the rule concludes at a look.

    Attributes:
        number: from 1.
        planned: pairs that were planned.
        pairs: pairs that count: neither side diverged.
        estimate: the mean difference; NaN without pairs.
        low: lower end of the repeated confidence interval that gave the state; it may be infinite.
        high: its upper end.
        state: `reached`, `within`, `better`, `lower` or `open`.
        final: nothing more is to be trained.
        futile: no answer is likely in the looks that are left.
    """

    number: int
    planned: int
    pairs: int
    estimate: float
    low: float
    high: float
    state: str
    final: bool
    futile: bool


#: One-sided levels of the test of 0 and of the tests of the margin.
Levels = tuple[float, float]
#: Differences of a method, and the shared variance at each look.
Data = tuple[Sequence[float], Sequence[float]]


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
    levels = (design.alpha / 2, design.alpha / 2)
    looks: list[Look] = []
    while not (looks and looks[-1].final) and _complete(design, (differences, shared), len(looks)):
        looks.append(_look(design, (differences, shared), prior, levels, len(looks)))
    return looks


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
    budget = _Budget(design, list(by_method), share)
    looks: dict[str, list[Look]] = {method: [] for method in by_method}
    if share == "in_order":
        for method, data in by_method.items():
            while not _over(looks[method]) and _complete(design, data, len(looks[method])):
                number = len(looks[method])
                looks[method].append(_look(design, data, prior, budget.levels[method], number))
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


def _over(looks: list[Look]) -> bool:
    return bool(looks) and looks[-1].final


def _complete(design: Design, data: Data, number: int) -> bool:
    """Whether a look (from 0) is planned and its data are there."""
    differences, shared = data
    if number >= len(design.looks):
        return False
    return len(differences) >= design.looks[number] and len(shared) > number


class _Budget:
    """The alpha of several methods, for the test of 0 and for those of the margin."""

    def __init__(self, design: Design, methods: list[str], share: str) -> None:
        half = design.alpha / 2
        self._design = design
        self._waiting = list(methods)
        first = half / len(methods) if share == "holm" and methods else half
        self.levels: dict[str, Levels] = {
            method: (first, first) if share == "holm" or method == methods[0] else (0.0, 0.0)
            for method in methods
        }
        self._next_only = share == "in_order"

    def answered(self, method: str, look: Look) -> None:
        """Pass the alpha of a method that has its answer to those that have none.

        A test that rejected passes everything on.  The other one passes what it has not spent: its
        looks are over, so it cannot err any more.
        """
        self._waiting.remove(method)
        heirs = self._waiting[:1] if self._next_only else self._waiting
        if not heirs:
            return
        time = look.planned / self._design.looks[-1]
        zero, margin = self.levels[method]
        if look.state in ("within", "reached"):
            zero -= zero * time**ZERO_POWER
        else:
            margin -= margin * time**MARGIN_POWER
        for heir in heirs:
            own_zero, own_margin = self.levels[heir]
            self.levels[heir] = (own_zero + zero / len(heirs), own_margin + margin / len(heirs))


def _look(design: Design, data: Data, prior: PriorVariance, levels: Levels, number: int) -> Look:
    """What the rule concludes at a look (from 0)."""
    differences, shared = np.asarray(data[0], float), data[1]
    counts = [int(np.isfinite(differences[:planned]).sum()) for planned in design.looks]
    values = differences[: design.looks[number]]
    values = values[np.isfinite(values)]
    pairs = len(values)
    planned = design.looks[number]
    last = number + 1 == len(design.looks)
    estimate = float(values.mean()) if pairs else math.nan
    if pairs < FEWEST:
        return Look(number + 1, planned, pairs, estimate, -math.inf, math.inf, "open", last, False)
    # No pair that is still to come is expected to diverge.
    counts[number + 1 :] = [pairs + later - planned for later in design.looks[number + 1 :]]
    capped = PriorVariance(prior.variance, min(prior.df, MOST_PRIOR_DF))
    between, df = capped.posterior(float(values.var(ddof=1)), pairs - 1)
    variance = Variance(between, df, pairs, max(0.0, shared[number]))
    widths = half_widths(counts, design.looks, levels, variance, number)
    state, low, high = _state(design, estimate, widths[0])
    futile = False
    if state == "open" and not last:
        chances = [
            chance_of_answer(estimate, variance, count, _answers(design, width))
            for count, width in zip(counts[number + 1 :], widths[1:], strict=True)
        ]
        futile = max(chances) < FUTILE
    final = state != "open" or futile or last
    return Look(number + 1, planned, pairs, estimate, low, high, state, final, futile)


def _state(design: Design, estimate: float, width: HalfWidths) -> tuple[str, float, float]:
    """The state, and the interval that belongs to it.

    An end that gave the state is that of its test.  The other end is the wider one of both tests,
    so that the interval never claims more than the state.
    """
    wider = max(width.zero, width.margin)
    if design.ask == "minutes":
        if estimate - width.margin > -design.margin:
            return "reached", estimate - width.margin, estimate + width.margin
        if estimate - width.zero > 0:
            return "reached", estimate - width.zero, estimate + wider
    elif abs(estimate) + width.margin < design.margin:
        return "within", estimate - width.margin, estimate + width.margin
    elif estimate - width.zero > 0:
        return "better", estimate - width.zero, estimate + wider
    if estimate + width.zero < 0:
        return "lower", estimate - wider, estimate + width.zero
    return "open", estimate - wider, estimate + wider


def _answers(design: Design, width: HalfWidths) -> list[tuple[float, float]]:
    """The ranges of an estimate that answer, at a look with these half widths."""
    lower = (-math.inf, -width.zero)
    if design.ask == "minutes":
        reached = min(width.zero, width.margin - design.margin)
        return [(-math.inf, math.inf)] if reached < -width.zero else [lower, (reached, math.inf)]
    inside = design.margin - width.margin
    if inside > width.zero:
        return [(-math.inf, math.inf)]
    return [lower, (-inside, inside), (width.zero, math.inf)]
