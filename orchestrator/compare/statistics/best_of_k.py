"""The expected best score of k tried configurations (Dodge et al. 2019, "Show your work").

It compares methods at an equal budget: the same number of configurations, or of minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.methods import Method
from orchestrator.compare.statistics.speed_up import why_not_comparable


@dataclass(frozen=True)
class BestOfK:
    """A point of a method's curve.

    It has no interval: bootstrap intervals of a maximum cover the truth in half of the cases.

    Attributes:
        minutes: of training for k configurations, all seeds and epochs; None if the trials'
            minutes do not compare.
    """

    method: str
    k: int
    minutes: float | None
    value: float


def curve(method: Method, metric: str) -> list[BestOfK]:
    """k = 1, 2, 3, 5, 7, 10, ... up to the number of complete configurations."""
    tried = method.candidates
    scores = np.sort([each.mean(metric, method.common) for each in tried])
    if len(scores) == 0:
        return []
    trials = [each.trials[seed] for each in tried for seed in method.common]
    fair = not why_not_comparable(trials)
    minutes = [record["minutes_per_epoch"] for trial in trials for record in trial.records]
    spent = math.fsum(minutes) / len(tried)
    return [
        BestOfK(method.name, k, spent * k if fair else None, expected_best(scores, k))
        for k in steps(len(scores))
    ]


def expected_best(scores: np.ndarray, k: int) -> float:
    """The expected maximum of k different ones of these scores (n,), which are sorted.

    It is the mean of the maximum over all sets of k, and so without bias. (k draws with
    replacement repeat some scores, and have a lower maximum.) The i-th score is the maximum of
    C(i-1, k-1) of the C(n, k) sets.
    """
    count = len(scores)
    share = k / count  # of the sets whose maximum is the highest score
    best = 0.0
    for place in range(count, k - 1, -1):
        best += share * float(scores[place - 1])
        if place > k:
            share *= (place - k) / (place - 1)
    return best


def steps(most: int) -> Sequence[int]:
    """1, 2, 3, 5, 7, 10, 20, ... up to and including `most`."""
    ks = [n * 10**power for power in range(7) for n in (1, 2, 3, 5, 7)]
    return [*(k for k in ks if k < most), most]
