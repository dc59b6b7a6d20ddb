"""Means of timed rounds, and ratios of means, with bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

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


def mean_interval(columns: Sequence[Sequence[float]]) -> Interval:
    """The mean of one column, or the ratio of two columns' means, with its bootstrap interval.

    It resamples rounds, both columns together.  With few rounds a percentile interval is too
    narrow, so its level is raised: the expanded percentile interval (Hesterberg 2015, "What
    teachers should know about the bootstrap").
    """
    import numpy as np
    from scipy import stats

    def statistic(*columns: Any, axis: int = -1) -> Any:
        means = [column.mean(axis) for column in columns]
        return means[0] / means[1] if len(means) == 2 else means[0]

    data = [np.asarray(column) for column in columns]
    value, count = float(statistic(*data)), len(data[0])
    if count < 2:
        return Interval(value, value, value)
    tail = stats.t.ppf((1 + CONFIDENCE) / 2, count - 1) * math.sqrt(count / (count - 1))
    interval = stats.bootstrap(
        data, statistic, paired=True, method="percentile", n_resamples=_RESAMPLES,
        confidence_level=1 - 2 * stats.norm.sf(tail), rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return Interval(value, float(interval.low), float(interval.high))
