"""The rule that ends confirming: states, intervals, lost pairs, futility, several methods."""

from __future__ import annotations

import math
import time

import numpy as np
import pytest

from orchestrator.compare.statistics.pooled_variance import NOTHING_KNOWN, PriorVariance
from orchestrator.decision.rule.looks import Design, Look, judge, judge_all

LOOKS = (3, 5, 8, 12, 20, 30, 45)
PRIOR = PriorVariance(0.0085**2, 48)
SHARED = [0.0014**2] * len(LOOKS)


def simulated(truth: float, seed: int, lost: float = 0.0, sd: float = 0.0085) -> list[float]:
    rng = np.random.default_rng(seed)
    values = rng.normal(truth, sd, LOOKS[-1]) + rng.normal(0, 0.0014)
    values[rng.random(len(values)) < lost] = math.nan
    return [float(value) for value in values]


def ending(ask: str, truth: float, seed: int = 1) -> Look:
    design = Design(LOOKS, 0.01, ask)  # type: ignore[arg-type]
    return judge(design, simulated(truth, seed), SHARED, PRIOR)[-1]


@pytest.mark.parametrize(
    ("ask", "truth", "state"),
    [
        ("score", 0.0, "within"),
        ("score", 0.025, "better"),
        ("score", -0.025, "lower"),
        ("minutes", 0.0, "reached"),
        ("minutes", 0.025, "reached"),
        ("minutes", -0.025, "lower"),
    ],
)
def test_states(ask: str, truth: float, state: str) -> None:
    look = ending(ask, truth)
    assert (look.state, look.final, look.futile) == (state, True, False)


def test_large_differences_end_early() -> None:
    assert ending("score", 0.05).planned == 3
    assert ending("score", 0.0).planned > 5


def contradiction(look: Look, ask: str, margin: float) -> bool:
    """Whether the shown interval says anything else than the state."""
    inside = -margin < look.low and look.high < margin
    words = {
        "reached": ask == "minutes" and look.low > -margin,
        "within": ask == "score" and inside,
        "better": ask == "score" and look.low > 0,
        "lower": look.high < 0,
    }
    return next((word for word, holds in words.items() if holds), "open") != look.state


@pytest.mark.parametrize("ask", ["minutes", "score"])
def test_interval_and_state_never_contradict(ask: str) -> None:
    rng = np.random.default_rng(7)
    seen = set()
    for seed in range(150):
        truth, margin = rng.uniform(-0.03, 0.03), 10 ** rng.uniform(-3, -1)
        prior = PRIOR if seed % 2 else NOTHING_KNOWN
        design = Design(LOOKS, margin, ask)  # type: ignore[arg-type]
        values = simulated(truth, seed, lost=0.2 * (seed % 3), sd=rng.uniform(0.001, 0.02))
        for look in judge(design, values, SHARED, prior):
            seen.add(look.state)
            assert not contradiction(look, ask, margin), (seed, look)
            assert look.low <= look.estimate <= look.high or math.isnan(look.estimate)
    assert len(seen) == (3 if ask == "minutes" else 4)


def test_only_complete_looks_are_judged() -> None:
    design = Design(LOOKS, 0.01, "score")
    values = simulated(0.004, 3)
    assert judge(design, values[:2], SHARED, PRIOR) == []
    all_looks = judge(design, values, SHARED, PRIOR)
    assert len(all_looks) >= 3
    assert len(judge(design, values, SHARED[:1], PRIOR)) == 1
    # Data that come later change nothing in looks that were taken.
    for count in range(len(all_looks)):
        assert judge(design, values[: LOOKS[count]], SHARED, PRIOR) == all_looks[: count + 1]
        assert (
            judge(design, values[: LOOKS[count] + 1], SHARED[: count + 1], PRIOR)
            == (all_looks[: count + 1])
        )


def test_the_last_look_is_final() -> None:
    values = [0.004, -0.003, 0.001, 0.002, -0.001]
    look = judge(Design((3, 5), 1e-6, "score"), values, SHARED, PRIOR)[-1]
    assert look.final and look.state == "open"


def test_futile_where_the_dev_sets_are_too_small() -> None:
    # The shared part alone is wider than the margin, and no number of pairs shrinks it.
    look = judge(Design(LOOKS, 0.005, "score"), simulated(0.0, 1), [0.01**2] * 7, PRIOR)[-1]
    assert (look.state, look.final, look.futile) == ("open", True, True)
    assert look.planned < LOOKS[-1]


def test_lost_pairs_do_not_count() -> None:
    design = Design(LOOKS, 0.01, "score")
    nan = math.nan
    looks = judge(design, [nan, 0.02, nan, nan, nan], SHARED, PRIOR)
    assert [look.pairs for look in looks] == [1, 1]
    assert [look.state for look in looks] == ["open", "open"]
    assert looks[0].low == -math.inf and not looks[0].final
    # No new pair: the later look replaces the earlier one.
    looks = judge(design, [0.001, 0.002, -0.001, nan, nan], SHARED, PRIOR)
    assert looks[1].pairs == 3 and looks[1].high < looks[0].high
    full = judge(design, simulated(0.0, 1), SHARED, PRIOR)
    lossy = judge(design, simulated(0.0, 1, lost=0.3), SHARED, PRIOR)
    for one, other in zip(full, lossy, strict=False):
        assert other.pairs < one.pairs or other == one


def test_three_pairs_without_a_prior_decide_nothing() -> None:
    design = Design(LOOKS, 0.01, "score")
    looks = judge(design, [0.05, 0.05, 0.05], SHARED, NOTHING_KNOWN)
    assert looks[0].state == "open" and looks[0].low == -math.inf and not looks[0].final


def test_equal_scores_are_within() -> None:
    looks = judge(Design(LOOKS, 0.01, "score"), [0.0] * 45, [0.0] * 7, NOTHING_KNOWN)
    assert (looks[-1].state, looks[-1].estimate) == ("within", 0.0)


def test_a_larger_variance_than_the_prior_counts_in_full() -> None:
    wild = [0.05, -0.04, 0.06, -0.05, 0.04]
    width = [
        judge(Design((5,), 0.01, "score"), wild, [0.0], PriorVariance(variance, 48))[-1]
        for variance in (1e-9, 0.002)
    ]
    assert width[0].high - width[0].low == pytest.approx(width[1].high - width[1].low)


def test_one_method_is_judged_alike_alone_and_among_one() -> None:
    design = Design(LOOKS, 0.01, "minutes")
    values = simulated(0.002, 4)
    for share in ("holm", "in_order"):
        looks = judge_all(design, {"a": (values, SHARED)}, PRIOR, share)  # type: ignore[arg-type]
        assert looks == {"a": judge(design, values, SHARED, PRIOR)}


def test_holm_shares_and_passes_on() -> None:
    design = Design(LOOKS, 0.01, "score")
    values, big = simulated(0.006, 5), simulated(0.08, 6)
    alone = judge(design, values, SHARED, PRIOR)
    pair = judge_all(design, {"a": (values, SHARED), "b": (values, SHARED)}, PRIOR)
    assert pair["a"] == pair["b"]
    assert pair["a"][0].high > alone[0].high
    # The other method answers at the first look: its alpha for the test of 0 arrives at once.
    mixed = judge_all(design, {"a": (values, SHARED), "b": (big, SHARED)}, PRIOR)
    assert [look.state for look in mixed["b"]] == ["better"]
    assert mixed["a"][0].high < pair["a"][0].high
    # A method that has its answer needs no more data.
    data = {"a": (values, SHARED), "b": (big[:3], SHARED)}
    assert judge_all(design, data, PRIOR) == mixed


def test_a_futile_method_passes_nothing_on() -> None:
    design = Design(LOOKS, 0.004, "score")
    values = simulated(0.004, 5)
    alike = judge_all(design, {"a": (values, SHARED), "b": (values, SHARED)}, PRIOR)
    futile = judge_all(design, {"a": (values, SHARED), "b": (values, [0.02**2] * 7)}, PRIOR)
    assert futile["b"][-1].futile
    assert len(futile["b"]) < len(futile["a"])
    assert futile["a"] == alike["a"]


def test_looks_are_taken_together() -> None:
    design = Design(LOOKS, 0.01, "score")
    values = simulated(0.006, 5)
    looks = judge_all(design, {"a": (values, SHARED), "b": (values[:4], SHARED)}, PRIOR)
    assert [len(each) for each in looks.values()] == [1, 1]


def test_in_order_waits_for_an_answer() -> None:
    design = Design(LOOKS, 0.01, "score")
    first, second = simulated(0.0, 1), simulated(0.05, 2)
    waiting = judge_all(
        design, {"a": (first[:3], SHARED), "b": (second, SHARED)}, PRIOR, "in_order"
    )
    assert waiting["a"][-1].state == "open" and waiting["b"] == []
    done = judge_all(design, {"a": (first, SHARED), "b": (second, SHARED)}, PRIOR, "in_order")
    assert done["a"] == judge(design, first, SHARED, PRIOR)
    assert done["b"][-1].state == "better"


def test_a_call_is_fast() -> None:
    design = Design(LOOKS, 0.01, "score")
    judge(design, simulated(0.0, 0), SHARED, PRIOR)
    start = time.process_time()
    for seed in range(20):
        judge(design, simulated(0.003, seed, lost=0.2), SHARED, PRIOR)
    assert (time.process_time() - start) / 20 < 0.05
