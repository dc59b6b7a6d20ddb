"""Tests of several differences at once, and the intervals that belong to their outcomes."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.compare.statistics.hypothesis_tests import holm, holm_levels, judge
from orchestrator.compare.statistics.mixture import Mixture


def test_holm_is_holms() -> None:
    # Holm 1979: the smallest p times the number of tests, and never less than one before it.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_each_level_is_that_of_its_step() -> None:
    assert holm_levels([0.01, 0.04, 0.03, 0.005]) == pytest.approx(
        [0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4]
    )
    assert holm_levels([0.6, 0.9]) == pytest.approx([0.025, 0.025])
    assert holm_levels([]) == []


@pytest.mark.parametrize(
    ("centre", "width", "expected"),
    [
        (0.02, 0.002, "better"),
        (-0.02, 0.002, "worse"),
        (0.0005, 0.001, "equivalent"),
        (0.002, 0.0005, "equivalent"),  # a difference for sure, and less than the margin
        (0.004, 0.004, "undecided"),
    ],
)
def test_three_outcomes(centre: float, width: float, expected: str) -> None:
    (judged,) = judge([Mixture(centre, width**2)], 0.005)
    assert judged.outcome == expected


def test_a_clear_difference_among_51_comparisons_is_one() -> None:
    """Of 51, the smallest p-value of 2,001 draws is 51 * 2 / 2001 = 0.051, however clear."""
    clear = Mixture(-0.267, 0.0064**2)  # [-0.280, -0.255]
    unclear = [Mixture(0.001, 0.01**2)] * 50
    judged, *others = judge([clear, *unclear], 0.005)
    assert judged.outcome == "worse" and judged.p_different < 1e-12
    assert {each.outcome for each in others} == {"undecided"}


def test_an_interval_never_contradicts_its_outcome() -> None:
    rng, margin = np.random.default_rng(0), 0.01
    outcomes = set()
    for _ in range(400):
        count = int(rng.integers(1, 8))
        differences = [
            Mixture(
                float(rng.normal(0, 0.01)), float(rng.uniform(0, 0.004)) ** 2,
                float(rng.uniform(0.0005, 0.004)) ** 2, float(rng.integers(1, 30)),
            )
            for _ in range(count)
        ]  # fmt: skip
        for each, judged in zip(differences, judge(differences, margin), strict=True):
            low, high = each.interval(judged.confidence)
            outcomes.add(judged.outcome)
            zero, inside = low <= 0 <= high, -margin < low and high < margin
            assert {
                "better": low > 0,
                "worse": high < 0,
                "equivalent": inside,
                "undecided": zero and not inside,
            }[judged.outcome]
            if judged.outcome == "equivalent" and judged.p_different < 0.05:
                assert not zero
    assert outcomes == {"better", "worse", "equivalent", "undecided"}
