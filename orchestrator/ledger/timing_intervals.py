"""Means of timed rounds, and ratios of two configurations, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCE = 0.95
_RESAMPLES = 9999


@dataclass(frozen=True)
class Interval:
    """An estimate and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int) -> str:
        """`0.712 (0.690 to 0.731)`, with this many significant digits."""
        value, low, high = (f"{x:#.{digits}g}" for x in (self.value, self.low, self.high))
        return f"{value} ({low} to {high})"


def mean_interval(values: Sequence[float]) -> Interval:
    """The mean of the rounds' values with its bootstrap interval.

    With few rounds a percentile interval is too narrow, so its level is raised: the expanded
    percentile interval (Hesterberg 2015, "What teachers should know about the bootstrap").
    """
    import numpy as np
    from scipy import stats

    value, count = float(np.mean(values)), len(values)
    if count < 2:
        return Interval(value, value, value)
    tail = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * math.sqrt(count / (count - 1))
    interval = stats.bootstrap(
        [np.asarray(values)], np.mean, method="percentile", n_resamples=_RESAMPLES,
        confidence_level=1 - 2 * stats.norm.sf(tail), rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Interval(value, float(interval.low), float(interval.high))


def ratio_interval(one: Sequence[float], other: Sequence[float]) -> Interval:
    """The geometric mean of the rounds' ratios, with Student's interval of their logarithms.

    Both turns of a round see nearly the same speed of the machine, which their ratio cancels.
    """
    import numpy as np
    from scipy import stats

    logs = np.log(np.asarray(one) / np.asarray(other))
    centre, count = float(logs.mean()), len(logs)
    if count < 2:
        return Interval(*[math.exp(centre)] * 3)
    error = float(logs.std(ddof=1)) / math.sqrt(count)
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, count - 1)) * error
    return Interval(math.exp(centre), math.exp(centre - half), math.exp(centre + half))
