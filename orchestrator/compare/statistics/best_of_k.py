"""The expected best score of k tried configurations (Dodge et al. 2019, "Show your work").

It compares methods at an equal budget: the same number of configurations, or of minutes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.compare.methods import Method
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE
from orchestrator.compare.statistics.speed_up import why_not_comparable

#: Configurations times replicates in memory at once.
_WORK = 300_000
_NOTHING = 1e-30


@dataclass(frozen=True)
class BestOfK:
    """A point of a method's curve, with a bootstrap interval over configurations.

    Attributes:
        minutes: of training for k configurations, all seeds and epochs; None if the trials'
            minutes do not compare.
    """

    method: str
    k: int
    minutes: float | None
    value: float
    low: float
    high: float


def curve(method: Method, metric: str, rng: np.random.Generator) -> list[BestOfK]:
    """k = 1, 2, 3, 5, 7, 10, ... up to the number of complete configurations."""
    tried = method.candidates
    scores = np.sort([each.mean(metric, method.seeds) for each in tried])
    count = len(scores)
    if count == 0:
        return []
    ks = np.array(steps(count))
    whole = expected_best(scores, np.ones((1, count)), ks)[0]
    replicates = int(np.clip(_WORK // count, 200, 2000))
    weights = rng.multinomial(count, np.full(count, 1 / count), size=replicates)
    weights = weights.astype(np.float32)  # enough for an interval, in half the time
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
    """The expected maximum of k draws with replacement, (rows, ks).

    Args:
        scores: (n,), sorted.
        weights: (rows, n), how often each score occurs; its dtype is that of the computation.
    """
    below = np.cumsum(weights, axis=1)[:, :-1] / weights.sum(1, keepdims=True)
    logs = np.log(np.maximum(below, _NOTHING))
    # The sum of v_i (F_i^k - F_(i-1)^k), by parts. Denormal numbers are slow and negligible, so
    # powers stay above _NOTHING.
    rises = np.diff(scores).astype(logs.dtype)
    least, highest = np.log(_NOTHING), logs.max(0, initial=-np.inf)
    maxima = np.empty((len(weights), len(ks)))
    for column, k in enumerate(ks):
        first = int(np.searchsorted(highest, least / k))
        powers = logs[:, first:] * int(k)
        np.exp(np.maximum(powers, least, out=powers), out=powers)
        maxima[:, column] = scores[-1] - powers @ rises[first:]
    return maxima


def steps(most: int) -> Sequence[int]:
    """1, 2, 3, 5, 7, 10, 20, ... up to and including `most`."""
    ks = [n * 10**power for power in range(7) for n in (1, 2, 3, 5, 7)]
    return [*(k for k in ks if k < most), most]
