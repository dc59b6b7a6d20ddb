"""The normal plus Student's t: tails and quantiles against scipy and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from orchestrator.compare.statistics.mixture import Mixture


@pytest.mark.parametrize("df", [1, 2, 3.8, 10, 48])
def test_without_a_normal_part_it_is_students(df: float) -> None:
    mixture = Mixture(0.0, 0.0, 4.0, df)
    for distance in (0.1, 2.0, 9.0, 40.0):
        assert mixture.tail(distance) == pytest.approx(stats.t.sf(distance / 2, df), rel=1e-6)
        assert mixture.tail(-distance) == pytest.approx(stats.t.cdf(distance / 2, df), rel=1e-6)
    for tail in (0.5, 0.3, 0.025, 1e-4, 1e-8):
        expected = 2 * stats.t.isf(tail, df)
        assert mixture.half_width(tail) == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("mixture", [Mixture(0.3, 0.25), Mixture(0.3, 0.16, 0.09, math.inf)])
def test_without_students_it_is_normal(mixture: Mixture) -> None:
    assert mixture.tail(1.2) == pytest.approx(stats.norm.sf(2.4))
    assert mixture.interval(0.95) == pytest.approx((0.3 - 0.98, 0.3 + 0.98), abs=1e-4)


def test_both_parts_together_are_their_sum() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.normal(0, 0.6, 400_000) + 0.5 * rng.standard_t(2, 400_000)
    mixture = Mixture(0.0, 0.36, 0.25, 2)
    for distance in (0.5, 1.5, 4.0):
        share = (drawn > distance).mean()
        assert mixture.tail(distance) == pytest.approx(share, abs=4 * math.sqrt(share / 400_000))
    assert mixture.tail(mixture.half_width(1e-5)) == pytest.approx(1e-5, rel=1e-6)


def test_certainty_has_no_width() -> None:
    assert Mixture(0.2, 0.0).interval(0.95) == (0.2, 0.2)
    assert [Mixture(0.2, 0.0).tail(d) for d in (-0.1, 0.0, 0.1)] == [1.0, 0.5, 0.0]
