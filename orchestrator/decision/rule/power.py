"""What a plan can decide: the rule of `looks`, applied to simulated pairs with known variances."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.statistics.pooled_variance import PriorVariance
from orchestrator.decision.rule.looks import Design, evidence, judge

_REPLICATES = 400


@dataclass(frozen=True)
class Variances:
    """Variances of a metric's difference between two methods.

    Attributes:
        pairs: of one pair of seeds.
        shared: the part that all seeds share, because they answer the same dev examples.
        df: degrees of freedom with which `pairs` is known before confirming; 0 if it is a guess.
    """

    pairs: float
    shared: float
    df: float

    @property
    def prior(self) -> PriorVariance:
        """What confirming knows at its start."""
        return PriorVariance(self.pairs, self.df)


@dataclass(frozen=True)
class Operating:
    """How a plan ends at a true difference.

    Attributes:
        answers: the probability of each final state, `open` included.
        pairs: mean number of pairs that are trained.
    """

    answers: dict[str, float]
    pairs: float


def operating(design: Design, variances: Variances, truth: float) -> Operating:
    """How the plan ends if the true difference is `truth`.

    400 simulated runs with a fixed stream of random numbers, so that the same plan gets the same
    figures; a probability near 0.9 has a standard error of 0.015.
    """
    answers: Counter[str] = Counter()
    pairs = 0
    shared = [variances.shared] * len(design.looks)
    for differences in _simulated(design, variances):
        last = judge(design, (differences + truth).tolist(), shared, variances.prior)[-1]
        answers[last.state] += 1
        pairs += last.planned
    shares = {state: count / _REPLICATES for state, count in answers.most_common()}
    return Operating(shares, pairs / _REPLICATES)


def smallest_margin(design: Design, variances: Variances, power: float) -> float | None:
    """The smallest margin that the looks confirm with this probability where methods are equal.

    `design.margin` is not used.  None if no margin is: the plan has too few pairs to conclude
    anything.  For the smallest margin that any number of pairs can confirm on these dev examples,
    set `variances.pairs` to 0.
    """
    shared = [variances.shared] * len(design.looks)
    confirmed = []
    for differences in _simulated(design, variances):
        smallest = math.inf
        for number in range(len(design.looks)):
            shown = evidence(
                design, (differences.tolist(), shared), variances.prior, design.levels, number
            )
            if shown is None:
                continue
            estimate, width = shown.estimate, shown.widths(number)
            # The margin that the interval of this look would just lie within.
            away = abs(estimate) if design.ask == "score" else -estimate
            smallest = min(smallest, width.margin + away)
            if design.ask == "minutes" and estimate > width.zero:
                smallest = min(smallest, 0.0)
            if abs(estimate) > width.zero:
                break  # any other margin ends here, with another answer
        confirmed.append(smallest)
    margin = sorted(confirmed)[min(len(confirmed) - 1, math.ceil(power * len(confirmed)) - 1)]
    return margin if math.isfinite(margin) else None


def _simulated(design: Design, variances: Variances) -> Iterator[np.ndarray]:
    """Differences of the pairs of simulated runs, true difference 0."""
    rng = np.random.default_rng(20190301)
    for _ in range(_REPLICATES):
        noise = rng.normal(0, math.sqrt(variances.pairs), design.looks[-1])
        yield noise + rng.normal(0, math.sqrt(variances.shared))
