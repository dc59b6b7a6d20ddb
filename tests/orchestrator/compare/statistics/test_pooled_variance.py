"""Moderated variances: limma's figures, a simulated prior, seeds that are missing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import special

from orchestrator.compare.statistics.pooled_variance import (
    PriorVariance,
    fit_scaled_f,
    inverse_trigamma,
    moderate,
    pair_prior,
    residual_variances,
)

SAMPLE = np.array([0.3, 1.2, 0.7, 5.1, 0.05, 2.2, 0.9, 1.6])


@pytest.mark.parametrize("value", [1e-8, 1e-3, 0.3, 1.0, math.pi**2 / 6, 40.0, 1e5])
def test_inverse_trigamma(value: float) -> None:
    assert special.polygamma(1, inverse_trigamma(value)) == pytest.approx(value, rel=1e-5)


# From InMoose 0.9.1, a port of limma's fitFDist to Python that is checked against R.
@pytest.mark.parametrize(
    ("df", "variance", "prior_df"),
    [
        (2.0, 1.2607028937006812, 7.138296118822157),
        (3.0, 0.7942942747034921, 2.7843115371071434),
        (1.0, 1.50625, math.inf),
    ],
)
def test_the_fit_equals_limma(df: float, variance: float, prior_df: float) -> None:
    assert fit_scaled_f(SAMPLE, np.full(8, df)) == pytest.approx((variance, prior_df), rel=1e-8)


def test_the_posterior_equals_limma() -> None:
    prior = PriorVariance(1.2607028937006812, 7.138296118822157)
    limma = [1.05044425, 1.24741751, 1.13798792, 2.10096831, 0.99572945, 1.46627669, 1.18175975]
    posterior = [prior.posterior(variance, 2.0) for variance in SAMPLE[:7]]
    assert [variance for variance, _ in posterior] == pytest.approx(limma, rel=1e-8)
    assert {df for _, df in posterior} == {prior.df + 2}


def test_a_simulated_prior_comes_back() -> None:
    rng = np.random.default_rng(1)
    true = 2.0 * 8 / rng.chisquare(8, 20_000)
    sample = true * rng.chisquare(3, 20_000) / 3
    variance, df = fit_scaled_f(sample, np.full(20_000, 3.0))
    assert variance == pytest.approx(2.0, rel=0.03)
    assert df == pytest.approx(8, rel=0.08)


def test_df_is_at_most_that_of_all_samples() -> None:
    prior = moderate([0.8, 1.0, 1.2, 0.9], [3, 3, 3, 3])
    assert (prior.variance, prior.df) == pytest.approx((0.975, 12))


def test_one_sample_says_nothing_about_others() -> None:
    assert moderate([2.0], [3]).df == 0


def test_what_seeds_share_is_removed() -> None:
    rng = np.random.default_rng(2)
    noise = rng.normal(0, 0.5, (400, 3))
    scores = 10 * rng.normal(size=(400, 1)) + 10 * rng.normal(size=(1, 3)) + noise
    prior = pair_prior([dict(enumerate(row)) for row in scores])
    assert prior.variance == pytest.approx(2 * 0.25, rel=0.1)
    assert prior.df > 10


def test_missing_seeds() -> None:
    rng = np.random.default_rng(3)
    scores = rng.normal(size=(3, 1)) + 5 * rng.normal(size=(1, 4)) + rng.normal(0, 0.1, (3, 4))
    rows = [dict(enumerate(row)) for row in scores.tolist()]
    del rows[0][3]
    rows[1][2] = math.nan
    variances, dfs = residual_variances([{s: v for s, v in r.items() if v == v} for r in rows])
    # 10 scores, and a model of 3 configurations and 4 seeds with 6 free parameters
    assert sum(dfs) == pytest.approx(4)
    assert max(variances) < 0.1
    weighted = sum(variance * df for variance, df in zip(variances, dfs, strict=True))
    assert moderate(variances, dfs).df <= 4 + 1e-9
    assert pair_prior(rows).variance <= 2 * weighted  # what is missing does not count


@pytest.mark.parametrize(
    "scores",
    [
        [],
        [{}],
        [{1: 0.5, 2: 0.6}],
        [{1: 0.5}, {1: 0.6}, {1: 0.9}],
        [{1: 0.5, 2: 0.6}, {3: 0.6, 4: 0.1}],
        [{1: 0.5, 2: 0.5}, {1: 0.5, 2: 0.5}],
    ],
)
def test_where_nothing_is_known_df_is_0(scores: list[dict[int, float]]) -> None:
    prior = pair_prior(scores)
    assert prior.df == 0
    assert prior.posterior(2.5, 3) == (2.5, 3)


def test_two_configurations_have_the_same_residuals() -> None:
    # The variance of a paired difference itself, with its two degrees of freedom.
    one, other = [0.1, 0.5, 0.3], [0.4, 0.2, 0.9]
    difference = np.subtract(one, other)
    prior = pair_prior([dict(enumerate(one)), dict(enumerate(other))])
    assert (prior.variance, prior.df) == pytest.approx((difference.var(ddof=1), 2))


@pytest.mark.parametrize(("seeds", "df"), [(2, 24), (3, 48)])
def test_an_infinite_prior_replaces_a_variance(seeds: int, df: int) -> None:
    assert PriorVariance(3.0, math.inf).posterior(1.0, seeds) == (3.0, math.inf)
    assert PriorVariance(3.0, df).posterior(1.0, 0) == (3.0, df)
