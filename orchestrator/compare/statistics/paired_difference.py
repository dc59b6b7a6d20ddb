"""The difference of two methods' means over seeds: paired where seeds are paired.

Both methods may have seeds that the other one lacks. With n and m seeds, c of them in common, the
difference of the means has the variance

    ((m - c) var_1 + (n - c) var_2 + c var_d) / (n m)

where var_1 and var_2 are the variances between the seeds of each method, and var_d that of the
paired differences. If all seeds are paired, this is var_d / n; if none is, it is Welch's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from orchestrator.compare.statistics.bootstrap import at_least_own, own_variance
from orchestrator.compare.statistics.mixture import Mixture

#: A method with fewer degrees of freedom does not pool: its variance may be another than it seems.
_LEAST_DF = 4.0


@dataclass(frozen=True)
class BySeed:
    """One method's scores.

    Attributes:
        values: (seeds,).
        resampled: (replicates, seeds), on resampled examples.
    """

    seeds: Sequence[int]
    values: np.ndarray
    resampled: np.ndarray

    def of(self, seeds: Sequence[int]) -> BySeed:
        places = [self.seeds.index(seed) for seed in seeds]
        return BySeed(seeds, self.values[places], self.resampled[:, places])

    @property
    def variance(self) -> float:
        """Between seeds; only for two or more."""
        return float(self.values.var(ddof=1))


@dataclass(frozen=True)
class Pool:
    """The variance between seeds, from all configurations of two methods that can be chosen.

    Attributes:
        pairs: variance of a paired difference, of one pair.
        df: its degrees of freedom; 0 if the configurations are too few to tell.
        single: variance of a single configuration.
    """

    pairs: float = 0.0
    df: float = 0.0
    single: float = 0.0

    def or_own(self, variance: float, df: float) -> tuple[float, float]:
        """The variance of a paired difference with its degrees of freedom: pooled, or else own."""
        return (self.pairs, self.df) if self.df > 0 else (variance, df)


def pooled(one: np.ndarray, other: np.ndarray) -> Pool:
    """Pool the variances of two methods' configurations.

    A seed gives all configurations the same initial weights, and a part of the score with them.
    This part cancels in a paired difference, so we remove it: the scores follow the model
    configuration + seed. The residual variances of the two methods add up to that of a paired
    difference.

    We pool within a method only, so that the methods may differ in their variances. With one
    variance for all, a method that varies four times as much as the others would be called
    different in 10 to 15 % of cases instead of 5 %.

    Args:
        one, other: the scores (configurations, seeds) of each method, with the same seeds.
    """
    scores = np.concatenate([one, other])
    count, seeds = scores.shape
    if not len(one) or not len(other) or seeds < 2:
        return Pool()
    residuals = scores - scores.mean(1, keepdims=True) - scores.mean(0) + scores.mean()
    free = (seeds - 1) * (1 - 1 / count)  # degrees of freedom of each configuration
    dfs = len(one) * free, len(other) * free
    if min(dfs) < _LEAST_DF:
        return Pool()
    parts = np.split(np.square(residuals), [len(one)])
    variances = [float(part.sum()) / df for part, df in zip(parts, dfs, strict=True)]
    single = float(np.mean([rows.var(1, ddof=1).mean() for rows in (one, other)]))
    return Pool(sum(variances), _satterthwaite(variances, dfs), single)


def _satterthwaite(variances: Sequence[float], dfs: Sequence[float]) -> float:
    """The degrees of freedom of a sum of independent variances (Satterthwaite 1946)."""
    spread = sum(variance**2 / df for variance, df in zip(variances, dfs, strict=True))
    return sum(variances) ** 2 / spread if spread > 0 else min(dfs)


@dataclass(frozen=True)
class MeanDifference:
    """A difference of means.

    Attributes:
        paired: seeds that both have.
        unpaired: seeds that count without a partner.
        dropped: seeds without a partner that do not count, because the pairs alone are more exact.
        seeds_differ: whether both methods show how seeds differ, so that a test is possible.
    """

    distribution: Mixture
    paired: list[int] = field(default_factory=list)
    unpaired: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)
    seeds_differ: bool = True


def mean_difference(
    one: BySeed, other: BySeed, pool: Pool | None = None, least: float = 0.0
) -> MeanDifference:
    """The difference of the means over seeds, one minus the other.

    Args:
        pool: pooled variances; by default only these scores count.
        least: variance that resampling the examples cannot show (`unseen_variance`).
    """
    pool = pool or Pool()
    paired = sorted(set(one.seeds) & set(other.seeds))
    single = sorted(set(one.seeds) ^ set(other.seeds))
    few = min(len(one.seeds), len(other.seeds)) == 1
    dropped: list[int] = []
    if single and paired and (few or _pairs_alone_are_better(one, other, paired, pool)):
        one, other, single, dropped = one.of(paired), other.of(paired), [], single
    value = float(one.values.mean() - other.values.mean())
    chance = float((one.resampled.mean(1) - other.resampled.mean(1)).var(ddof=1))
    if few:
        return MeanDifference(Mixture(value, chance + least), paired, single, dropped, False)
    between, own, df = _between(one, other, paired, pool)
    distribution = Mixture(
        value, max(0.0, chance - own) + least, at_least_own(between, own, df), df
    )
    return MeanDifference(distribution, paired, single, dropped)


def _pairs_alone_are_better(one: BySeed, other: BySeed, paired: Sequence[int], pool: Pool) -> bool:
    """Whether seeds without a partner add more chance than they save, by the pooled variances.

    The compared scores themselves do not decide this: of two variances from few seeds, the smaller
    one is too small.
    """
    if len(paired) < 2 or not pool.df > 0:
        return False
    n, m, c = len(one.seeds), len(other.seeds), len(paired)
    together = ((n + m - 2 * c) * pool.single + c * pool.pairs) / (n * m)
    return pool.pairs / c < together


def _between(
    one: BySeed, other: BySeed, paired: Sequence[int], pool: Pool
) -> tuple[float, float, float]:
    """The variance of the difference between seeds, the examples' own part of it, and its df."""
    n, m, c = len(one.seeds), len(other.seeds), len(paired)
    parts = []  # how much it counts, variance, own part, degrees of freedom
    if c < m:
        parts.append(((m - c) / (n * m), one.variance, own_variance(one.resampled), n - 1.0))
    if c < n:
        parts.append(((n - c) / (n * m), other.variance, own_variance(other.resampled), m - 1.0))
    if c > 1:
        a, b = one.of(paired), other.of(paired)
        own = own_variance(a.resampled - b.resampled)
        variance, df = pool.or_own(float((a.values - b.values).var(ddof=1)), c - 1.0)
        parts.append((c / (n * m), variance, own, df))
    elif c == 1:
        # One pair shows no variance. Without pooled ones, it counts as if it were unpaired.
        own = own_variance(one.resampled) + own_variance(other.resampled)
        variance, df = pool.or_own(one.variance + other.variance, 0.0)
        parts.append((c / (n * m), variance, own, df or min(n, m) - 1.0))
    variances = [share * variance for share, variance, _, _ in parts]
    own = sum(share * each for share, _, each, _ in parts)
    return sum(variances), own, _satterthwaite(variances, [df for *_, df in parts])
