"""Boundaries of planned looks against published tables, and against simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from orchestrator.decision.rule.boundaries import (
    critical_values,
    obrien_fleming_spending,
    pocock_spending,
    power_spending,
    stopping_probabilities,
    student,
)


def equal_looks(count: int) -> tuple[float, ...]:
    return tuple((number + 1) / count for number in range(count))


def two_sided(information: tuple[float, ...], bounds: list[float]) -> float:
    below, above = stopping_probabilities(information, [-b for b in bounds], bounds)
    return sum(below) + sum(above)


# Jennison and Turnbull 2000, tables 2.1 and 2.3: two-sided level 0.05.
@pytest.mark.parametrize(
    ("looks", "pocock", "obrien_fleming"),
    [
        (1, 1.960, 1.960),
        (2, 2.178, 1.977),
        (3, 2.289, 2.004),
        (4, 2.361, 2.024),
        (5, 2.413, 2.040),
        (10, 2.555, 2.087),
    ],
)
def test_published_constants(looks: int, pocock: float, obrien_fleming: float) -> None:
    times = equal_looks(looks)
    constant = optimize.brentq(lambda c: two_sided(times, [c] * looks) - 0.05, 1.5, 4)
    assert constant == pytest.approx(pocock, abs=6e-4)
    constant = optimize.brentq(
        lambda c: two_sided(times, [c / math.sqrt(t) for t in times]) - 0.05, 1.5, 4
    )
    assert constant == pytest.approx(obrien_fleming, abs=6e-4)


# As SAS and the R package ldbounds print them: two-sided level 0.05, five equal looks.
def test_published_spending_boundaries() -> None:
    times = equal_looks(5)
    spent = tuple(obrien_fleming_spending(0.025, t) for t in times)
    published = [4.8769, 3.3569, 2.6803, 2.2898, 2.0310]
    assert critical_values(times, spent) == pytest.approx(published, abs=2e-4)
    spent = tuple(pocock_spending(0.025, t) for t in times)
    published = [2.4380, 2.4268, 2.4101, 2.3966, 2.3859]
    assert critical_values(times, spent) == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "information", [(3.0, 5.0, 8.0, 12.0, 20.0, 30.0, 45.0), (1.0, 1.02, 1.05, 3.0), (2.0,)]
)
def test_alpha_is_spent_as_planned(information: tuple[float, ...], power: float) -> None:
    spent = tuple(
        power_spending(0.025, (number + 1) / len(information), power)
        for number in range(len(information))
    )
    bounds = critical_values(information, spent)
    never = [-math.inf] * len(bounds)
    _, above = stopping_probabilities(information, never, bounds)
    assert np.cumsum(above) == pytest.approx(spent, abs=1e-9)


def test_crossings_of_simulated_scores() -> None:
    information = np.array([3.0, 4.0, 9.0])
    steps = np.diff(information, prepend=0)
    rng = np.random.default_rng(5)
    scores = np.cumsum(rng.normal(0.4 * steps, np.sqrt(steps), (400_000, 3)), axis=1)
    z = scores / np.sqrt(information)
    low, high = np.array([-0.5, 0.2, 1.0]), np.array([2.0, 1.8, 1.5])
    outside = (z < low) | (z > high)
    first = outside.argmax(1)
    stopped = outside.any(1)
    ends = z[np.arange(len(z)), first]
    below, above = stopping_probabilities(information, low, high, truth=0.4)
    for number in range(3):
        here = stopped & (first == number)
        assert np.mean(here & (ends < low[number])) == pytest.approx(below[number], abs=0.003)
        assert np.mean(here & (ends > high[number])) == pytest.approx(above[number], abs=0.003)


@pytest.mark.parametrize("step", [0.5, 0.02, 0.0005])
def test_two_looks_that_are_close(step: float) -> None:
    first, second = critical_values((1.0, 1.0 + step), (0.01, 0.025))
    correlation = math.sqrt(1 / (1 + step))
    spread = math.sqrt(1 - correlation**2)

    def later(z: float) -> float:
        return stats.norm.pdf(z) * stats.norm.sf((second - correlation * z) / spread)

    points = [second / correlation] if second < first else None
    probability, _ = integrate.quad(later, -10, first, points=points, epsabs=1e-10, limit=500)
    assert probability == pytest.approx(0.015, abs=1e-6)


def test_a_look_that_may_spend_nothing_cannot_stop() -> None:
    bounds = critical_values((1.0, 2.0), (0.0, 0.025))
    assert bounds[0] == math.inf
    assert bounds[1] == pytest.approx(1.959964, abs=1e-6)


def test_information_must_rise() -> None:
    with pytest.raises(ValueError, match="must rise"):
        critical_values((2.0, 2.0), (0.01, 0.02))


@pytest.mark.parametrize("df", [1.0, 6.5, 40.0])
def test_student(df: float) -> None:
    assert stats.t.sf(student(2.4, df), df) == pytest.approx(stats.norm.sf(2.4))
    assert student(2.4, math.inf) == 2.4
    assert student(math.inf, df) == math.inf
    assert student(2.4, 0) == math.inf
