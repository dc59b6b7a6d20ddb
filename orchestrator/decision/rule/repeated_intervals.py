"""Half widths of the repeated confidence intervals at each look, and what they may still show.

- The estimate after n pairs of seeds is their mean difference.  Its variance is sigma^2 / n + s^2:
  seeds shrink the first part, and s^2 is the chance of the dev examples, which all seeds share.
- An interval, estimate minus and plus boundary times standard error, is a repeated confidence
  interval (Jennison and Turnbull 1989, JRSS B 51, 305-361): it holds at all looks together, so also
  at the look that stops.
- The boundary for an estimated variance is a quantile of Student's t with the degrees of freedom of
  the whole variance (Satterthwaite 1946, Biometrics Bulletin 2, 110-114).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from orchestrator.decision.rule.boundaries import critical_values, power_spending, student

#: alpha spent by look k of K is alpha * (k / K)^power, whatever has diverged until then.  The test
#: of 0 spends early, because large differences show after few pairs.  The tests of the margin spend
#: later.
ZERO_POWER = 0.6
MARGIN_POWER = 1.5
#: Boundaries are computed for s^2 / sigma^2 on a grid with this step, rounded down, and at most 1.
#: A smaller ratio means looks that depend less on each other, and so higher boundaries.
_RATIO_STEP, _LEAST_RATIO = 1.3, 1e-3
#: Below this many degrees of freedom nothing is concluded, and from the second number on alpha is
#: spent as planned.
FEWEST_DF, ENOUGH_DF = 4.0, 12.0
#: The fewest pairs from which anything is concluded.
FEWEST = 2


@dataclass(frozen=True)
class Variance:
    """What is known at a look about the variance of the estimate.

    Attributes:
        pairs: sigma^2, of one pair.
        df: its degrees of freedom.
        count: pairs from which it was estimated.
        shared: s^2.
    """

    pairs: float
    df: float
    count: int
    shared: float

    def of_estimate(self, count: float) -> float:
        """The variance of the estimate from `count` pairs."""
        return self.pairs / count + self.shared

    def half_width(self, bound: float, count: float) -> float:
        """Boundary times standard error of the estimate from `count` pairs."""
        if not math.isfinite(bound):
            return math.inf
        variance = self.of_estimate(count)
        df = self.df + count - self.count
        if self.pairs > 0:
            df *= (variance * count / self.pairs) ** 2
        return student(bound, df) * math.sqrt(variance) if variance else 0.0

    @property
    def ratio(self) -> float:
        """s^2 / sigma^2 on its grid."""
        ratio = min(1.0, self.shared / self.pairs) if self.pairs > 0 else float(self.shared > 0)
        if ratio < _LEAST_RATIO:
            return 0.0
        return _RATIO_STEP ** math.floor(math.log(ratio, _RATIO_STEP) + 1e-9)


@dataclass(frozen=True)
class HalfWidths:
    """Half widths of the intervals of a look: for the test of 0, and for those of the margin."""

    zero: float
    margin: float


def half_widths(
    counts: tuple[int, ...],
    levels: tuple[float, float],
    variance: Variance,
    number: int,
) -> HalfWidths:
    """Half widths of the intervals at a look (from 0).

    Args:
        counts: pairs at each look; those still to come are expected.
        levels: one-sided levels of the test of 0 and of the tests of the margin.
        variance: as known now.
    """
    count, ratio = counts[number], variance.ratio
    trust = trusted_share(variance.df + count - variance.count)
    zero, margin = (
        _boundaries(counts, level * trust, power, ratio)[number]
        for level, power in zip(levels, (ZERO_POWER, MARGIN_POWER), strict=True)
    )
    return HalfWidths(variance.half_width(zero, count), variance.half_width(margin, count))


def trusted_share(df: float) -> float:
    """The share of alpha that may be spent while the variance has these degrees of freedom.

    Student's t is right for normal data only.  With few degrees of freedom, skewed data produce
    samples that are close together and far from the mean too often.
    """
    if df < FEWEST_DF:
        return 0.0
    share = min(1.0, df / ENOUGH_DF) ** 2
    return math.floor(share * 50) / 50


@lru_cache(maxsize=4096)
def _boundaries(
    counts: tuple[int, ...], level: float, power: float, ratio: float
) -> tuple[float, ...]:
    """Boundaries of Z at each look, infinite where a look has too few pairs.

    A look that brought no new pair replaces the look before.
    """
    usable = [
        number
        for number, count in enumerate(counts)
        if count >= FEWEST and count not in counts[number + 1 :]
    ]
    information = tuple(1 / (1 / counts[number] + ratio) for number in usable)
    spent = tuple(power_spending(level, (number + 1) / len(counts), power) for number in usable)
    values = dict(zip(usable, critical_values(information, spent), strict=True))
    return tuple(values.get(number, math.inf) for number in range(len(counts)))


def chance_of_answer(
    estimate: float, variance: Variance, count: float, wanted: list[tuple[float, float]]
) -> float:
    """The probability that the estimate from `count` pairs will lie in one of some ranges.

    The true difference is as likely everywhere around today's estimate as that estimate is precise
    (predictive probability with a flat prior; Spiegelhalter, Freedman and Blackburn 1986).

    Args:
        wanted: ranges that do not overlap.
    """
    spread = math.sqrt(variance.of_estimate(variance.count) - variance.of_estimate(count))
    if spread == 0:
        return float(any(low < estimate < high for low, high in wanted))
    return sum(
        _normal((high - estimate) / spread) - _normal((low - estimate) / spread)
        for low, high in wanted
        if low < high
    )


def _normal(z: float) -> float:
    return 0.5 * math.erfc(-z / math.sqrt(2))
