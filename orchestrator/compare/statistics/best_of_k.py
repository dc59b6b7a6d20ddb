"""The expected best score of k tried configurations (Dodge et al. 2019, "Show your work").

Methods are compared at an equal budget: the same number of configurations, or of minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.methods import Method
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE
from orchestrator.compare.statistics.speed_up import why_not_comparable

#: Configurations times replicates that are worked on at once.
_WORK = 300_000
_NOTHING = 1e-30


@dataclass(frozen=True)
class BestOfK:
    """A point of a method's curve; `low` and `high` bootstrap the tried configurations.

    `minutes` of training that k configurations take, all seeds and epochs; None where the trials'
    minutes do not compare.
    """

    method: str
    k: int
    minutes: float | None
    value: float
    low: float
    high: float


def curve(method: Method, metric: str, rng: np.random.Generator) -> list[BestOfK]:
    """k = 1, 2, 3, 5, 7, 10, ... up to the configurations that were tried to the end."""
    tried = method.candidates
    scores = np.sort([each.mean(metric, method.seeds) for each in tried])
    count = len(scores)
    if count == 0:
        return []
    ks = np.array(steps(count))
    whole = expected_best(scores, np.ones((1, count)), ks)[0]
    replicates = int(np.clip(_WORK // count, 200, 2000))
    weights = rng.multinomial(count, np.full(count, 1 / count), size=replicates)
    weights = weights.astype(np.float32)  # an interval needs no more, and powers take half the time
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(expected_best(scores, weights, ks), [tail, 1 - tail], axis=0)
    trials = [each.trials[seed] for each in tried for seed in method.seeds]
    fair = not why_not_comparable(trials)
    minutes = [record["minutes_per_epoch"] for trial in trials for record in trial.records]
    spent = math.fsum(minutes) / count
    return [
        BestOfK(method.name, int(k), spent * int(k) if fair else None, *map(float, point))
        for k, *point in zip(ks, whole, low, high, strict=True)
    ]


def expected_best(scores: np.ndarray, weights: np.ndarray, ks: np.ndarray) -> np.ndarray:
    """The mean of the maximum of k draws with replacement, (rows, ks).

    Args:
        scores: (n,) in rising order.
        weights: (rows, n), how often each score is there; powers are in its precision.
    """
    below = np.cumsum(weights, axis=1)[:, :-1] / weights.sum(1, keepdims=True)
    logs = np.log(np.maximum(below, _NOTHING))
    # The sum of v_i (F_i^k - F_(i-1)^k), by parts; the smallest numbers are slow, and nothing.
    rises = np.diff(scores).astype(logs.dtype)
    least, highest = np.log(_NOTHING), logs.max(0, initial=-np.inf)
    found = np.empty((len(weights), len(ks)))
    for column, k in enumerate(ks):
        first = int(np.searchsorted(highest, least / k))
        powers = logs[:, first:] * int(k)
        np.exp(np.maximum(powers, least, out=powers), out=powers)
        found[:, column] = scores[-1] - powers @ rises[first:]
    return found


def steps(most: int) -> Sequence[int]:
    """1, 2, 3, 5, 7, 10, 20, ... up to `most`, which is one of them."""
    found = [n * 10**power for power in range(7) for n in (1, 2, 3, 5, 7)]
    return [*(k for k in found if k < most), most]
