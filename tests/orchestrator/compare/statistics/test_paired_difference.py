"""Differences of means with paired and unpaired seeds, and variances pooled within methods."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.compare.statistics.paired_difference import (
    BySeed,
    Pool,
    mean_difference,
    pooled,
)

RNG = np.random.default_rng


def scores(by_seed: dict[int, float]) -> BySeed:
    """Scores without any chance in the examples."""
    values = np.array(list(by_seed.values()))
    return BySeed(list(by_seed), values, np.tile(values, (50, 1)))


def test_paired_seeds_are_the_paired_t_test() -> None:
    a, b = {1: 0.70, 2: 0.73, 3: 0.71}, {1: 0.69, 2: 0.70, 3: 0.72}
    difference = mean_difference(scores(a), scores(b))
    expected = stats.ttest_rel(list(a.values()), list(b.values())).confidence_interval()
    assert difference.distribution.interval(0.95) == pytest.approx(tuple(expected))
    assert (difference.paired, difference.unpaired, difference.dropped) == ([1, 2, 3], [], [])


def test_unpaired_seeds_are_welchs_t_test() -> None:
    a, b = {1: 0.70, 2: 0.73, 3: 0.71}, {4: 0.69, 5: 0.70, 6: 0.77, 7: 0.72}
    difference = mean_difference(scores(a), scores(b))
    expected = stats.ttest_ind(list(a.values()), list(b.values()), equal_var=False)
    assert difference.distribution.interval(0.95) == pytest.approx(
        tuple(expected.confidence_interval())
    )
    assert difference.unpaired == [1, 2, 3, 4, 5, 6, 7] and difference.seeds_differ


def test_one_pair_and_three_more_of_each_all_count() -> None:
    a = {1: 0.70, 2: 0.71, 3: 0.72, 4: 0.73}
    b = {4: 0.60, 5: 0.61, 6: 0.62, 7: 0.63}
    difference = mean_difference(scores(a), scores(b))
    assert (difference.paired, difference.unpaired) == ([4], [1, 2, 3, 5, 6, 7])
    variance = np.var(list(a.values()), ddof=1) + np.var(list(b.values()), ddof=1)
    assert difference.distribution.value == pytest.approx(0.1)
    assert difference.distribution.seeds == pytest.approx(variance / 4)
    low, high = difference.distribution.interval(0.95)
    assert high - low < 0.06  # the pair alone would show nothing about seeds


@pytest.mark.parametrize(("pairs", "dropped"), [(0.2, [4, 5]), (3.0, [])])
def test_seeds_without_a_partner_count_unless_pairs_are_more_exact(
    pairs: float, dropped: list[int]
) -> None:
    a = {1: 0.70, 2: 0.73, 3: 0.71, 4: 0.9, 5: 0.9}
    b = {1: 0.69, 2: 0.70, 3: 0.72}
    difference = mean_difference(scores(a), scores(b), Pool(pairs, 20.0, 1.0))
    assert difference.dropped == dropped
    own = 0.71 + 2 / 300 if dropped else np.mean(list(a.values()))
    assert difference.distribution.value == pytest.approx(own - np.mean(list(b.values())), abs=4e-3)


def test_a_single_seed_shows_no_difference_between_seeds() -> None:
    difference = mean_difference(scores({1: 0.7}), scores({1: 0.6, 2: 0.5}))
    assert not difference.seeds_differ and difference.dropped == [2]
    assert difference.distribution.value == pytest.approx(0.1)
    apart = mean_difference(scores({1: 0.7}), scores({2: 0.6, 3: 0.5}))
    assert not apart.seeds_differ and apart.paired == []


def test_the_pooled_variance_is_that_of_a_paired_difference() -> None:
    rng = RNG(0)
    seed_effects = np.array([-9.0, 4.0, -1.0, 6.0])  # large, and the same for all configurations
    one = seed_effects + rng.normal(0, 1, (400, 4))
    other = seed_effects + rng.normal(0, 2, (400, 4))
    pool = pooled(one, other)
    assert pool.pairs == pytest.approx(1 + 4, rel=0.05)
    assert pool.df > 100 and pool.single > 20
    few = pooled(one[:1], other)
    assert few.df == 0.0  # a single configuration does not speak for its method
    assert few.or_own(7.0, 2.0) == (7.0, 2.0)


@pytest.mark.parametrize("ratio", [1.0, 4.0])
def test_pooled_intervals_cover_and_are_narrower(ratio: float) -> None:
    rng, covered, narrower = RNG(1), 0, 0.0
    for _ in range(600):
        effects = rng.normal(0, 1, 3)
        one = effects + rng.normal(0, 1, (5, 3))
        other = effects + rng.normal(0, math.sqrt(ratio), (5, 3))
        a, b = (scores(dict(enumerate(rows[0]))) for rows in (one, other))
        pool = mean_difference(a, b, pooled(one, other)).distribution
        low, high = pool.interval(0.95)
        covered += low <= 0 <= high
        narrower += (high - low) / mean_difference(a, b).distribution.half_width(0.025) / 2 / 600
    assert 0.925 <= covered / 600 <= 0.975
    assert narrower < 1.0


def test_mixed_seeds_cover_the_truth() -> None:
    rng, covered = RNG(2), 0
    for _ in range(600):
        effects = rng.normal(0, 0.7, 7)
        a = {s: effects[s] + rng.normal() for s in (0, 1, 2, 3)}
        b = {s: effects[s] + 1.4 * rng.normal() for s in (3, 4, 5, 6)}
        low, high = mean_difference(scores(a), scores(b)).distribution.interval(0.95)
        covered += low <= 0 <= high
    assert 0.93 <= covered / 600 <= 0.975
