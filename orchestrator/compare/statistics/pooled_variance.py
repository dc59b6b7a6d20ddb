"""Moderated variances: what many configurations together say about the variance between seeds.

Smyth, G. K. (2004). Linear models and empirical Bayes methods for assessing differential
expression in microarray experiments. Statistical Applications in Genetics and Molecular Biology
3(1), article 3.  This is `squeezeVar` of the R package limma.

A configuration with two or three seeds has one or two degrees of freedom, but a sweep has dozens of
configurations.  Their true variances are assumed to scatter around a common value s0^2, as
s0^2 * d0 / chi^2(d0).  Then log sample variances have a known mean and variance, from which s0^2
and d0 follow (section 6.2 of the paper).  A large d0 means that the variances hardly differ.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

#: Variances below this part of the median are raised to it, as in limma: the log of 0 is infinite.
_LEAST_OF_MEDIAN = 1e-5
#: Configurations with fewer degrees of freedom are left out: a log variance says nothing there.
_LEAST_DF = 0.4


@dataclass(frozen=True)
class PriorVariance:
    """A variance known in advance, as if from a sample with `df` degrees of freedom.

    Attributes:
        variance: s0^2.
        df: d0; 0 if nothing is known.
    """

    variance: float
    df: float

    def posterior(self, variance: float, df: float) -> tuple[float, float]:
        """The moderated variance and its degrees of freedom (section 4, s~^2, and d0 + d).

        Args:
            variance: of a sample, ignored if `df` is 0.
            df: its degrees of freedom.
        """
        if self.df <= 0:
            return variance, df
        if df <= 0 or math.isinf(self.df):
            return self.variance, self.df
        total = self.df + df
        return (self.df * self.variance + df * variance) / total, total


NOTHING_KNOWN = PriorVariance(math.nan, 0.0)


def moderate(variances: Sequence[float], dfs: Sequence[float]) -> PriorVariance:
    """The common variance of several samples, and how far it can be trusted.

    `df` is at most the sum of all degrees of freedom, because the common variance itself is
    estimated from them (limma's `df.total` has the same limit).

    Args:
        variances: sample variances.
        dfs: their degrees of freedom.
    """
    usable = [
        (variance, df)
        for variance, df in zip(variances, dfs, strict=True)
        if df >= _LEAST_DF and math.isfinite(variance)
    ]
    if not usable:
        return NOTHING_KNOWN
    variance, df = fit_scaled_f(np.array([v for v, _ in usable]), np.array([d for _, d in usable]))
    return PriorVariance(variance, min(df, sum(d for _, d in usable)))


def fit_scaled_f(variances: np.ndarray, dfs: np.ndarray) -> tuple[float, float]:
    """s0^2 and d0 (which may be infinite) of sample variances distributed as s0^2 * F(df, d0).

    From the moments of log variances, Smyth 2004, section 6.2.  One sample shows nothing about how
    much variances differ, and variances that are all 0 nothing at all: d0 is 0 then.
    """
    from scipy import special  # it takes half a second to load

    median = float(np.median(variances))
    if median <= 0:
        return 0.0, 0.0
    if len(variances) == 1:
        return median, 0.0
    logs = np.log(np.maximum(variances, _LEAST_OF_MEDIAN * median))
    centred = logs - special.digamma(dfs / 2) + np.log(dfs / 2)
    excess = float(centred.var(ddof=1) - special.polygamma(1, dfs / 2).mean())
    if excess <= 0:
        return float(np.average(variances, weights=dfs)), math.inf
    df = 2 * inverse_trigamma(excess)
    return math.exp(centred.mean() + special.digamma(df / 2) - math.log(df / 2)), df


def inverse_trigamma(value: float) -> float:
    """The y with trigamma(y) = `value`, by Newton's method (Smyth 2004, appendix)."""
    from scipy import special

    if value > 1e7:
        return 1 / math.sqrt(value)
    if value < 1e-6:
        return 1 / value
    y = 0.5 + 1 / value
    for _ in range(50):
        trigamma = float(special.polygamma(1, y))
        step = trigamma * (1 - trigamma / value) / float(special.polygamma(2, y))
        y += step
        if -step / y < 1e-10:
            break
    return y


def pair_prior(scores: Sequence[Mapping[int, float]]) -> PriorVariance:
    """The prior of the variance of a paired difference between two configurations, for one seed.

    A seed gives all configurations the same initial weights, and a part of the score with them.
    This part cancels in a paired difference.  We remove it: the scores follow the model
    configuration + seed, fitted by least squares, and each configuration's residuals give one
    variance.  Seeds may be missing.  A difference has the residual variance twice.

    Args:
        scores: the score by seed, for each configuration; scores that are not finite do not count.
    """
    finite = [
        {seed: score for seed, score in row.items() if score is not None and math.isfinite(score)}
        for row in scores
    ]
    variances, dfs = residual_variances([row for row in finite if row])
    prior = moderate(variances, dfs)
    return PriorVariance(2 * prior.variance, prior.df)


def residual_variances(scores: Sequence[Mapping[int, float]]) -> tuple[list[float], list[float]]:
    """Residual variance and degrees of freedom of each configuration, from configuration + seed.

    A configuration's degrees of freedom are the trace of its block of the matrix that makes
    residuals of scores.  They sum to the degrees of freedom of the whole fit, and need not be
    whole numbers.
    """
    seeds = sorted({seed for row in scores for seed in row})
    cells = [(place, seed, row[seed]) for place, row in enumerate(scores) for seed in row]
    if not cells:
        return [], []
    owner = np.array([place for place, _, _ in cells])
    values = np.array([score for _, _, score in cells])
    of_seed = np.zeros((len(cells), len(seeds)))  # (scores, seeds)
    of_seed[np.arange(len(cells)), [seeds.index(seed) for _, seed, _ in cells]] = 1
    # Configurations may be thousands, and seeds are few. We remove each configuration's mean from
    # scores and seeds, and fit the seeds to what is left (Frisch and Waugh).
    counts = np.maximum(1, np.bincount(owner))
    values, of_seed = (_without_means(each, owner, counts) for each in (values, of_seed))
    left, singular, _ = np.linalg.svd(of_seed, full_matrices=False)
    basis = left[:, singular > 1e-9 * max(singular[0], 1.0)]
    squares = (values - basis @ (basis.T @ values)) ** 2
    free = 1 - 1 / counts[owner] - (basis**2).sum(1)
    dfs = np.bincount(owner, free)
    usable = dfs >= _LEAST_DF
    variances = np.bincount(owner, squares)[usable] / dfs[usable]
    return variances.tolist(), dfs[usable].tolist()


def _without_means(values: np.ndarray, owner: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Values (cells, ...) without the mean of each owner's cells."""
    sums = np.zeros((len(counts), *values.shape[1:]))
    np.add.at(sums, owner, values)
    means = sums / counts.reshape(-1, *[1] * (values.ndim - 1))
    centred: np.ndarray = values - means[owner]
    return centred
