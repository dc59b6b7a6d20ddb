"""What a plan can decide, before anything is trained."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchestrator.decision.rule.looks import Design
from orchestrator.decision.rule.power import Variances, operating, smallest_margin

LOOKS = (3, 5, 8, 12, 20, 30, 45)
#: The kept study with whole dev sets.
STUDY = Variances(pairs=0.0085**2, shared=0.0014**2, df=48)
SCORE, MINUTES = Design(LOOKS, 0.01, "score"), Design(LOOKS, 0.01, "minutes")


@pytest.mark.parametrize(
    ("truth", "state", "least", "most_pairs"),
    [(0.0, "within", 0.92, 17), (0.01, "better", 0.90, 13), (0.02, "better", 0.99, 5.2)],
)
def test_a_plan_for_the_study(truth: float, state: str, least: float, most_pairs: float) -> None:
    result = operating(SCORE, STUDY, truth)
    assert result.answers[state] >= least
    assert result.pairs <= most_pairs
    assert sum(result.answers.values()) == pytest.approx(1)
    assert operating(SCORE, STUDY, truth) == result


def test_reaching_takes_fewer_pairs() -> None:
    result = operating(MINUTES, STUDY, 0.0)
    assert result.answers["reached"] >= 0.95
    assert result.pairs < 13


@pytest.mark.parametrize("design", [SCORE, MINUTES])
def test_the_smallest_margin_is_confirmed_with_its_power(design: Design) -> None:
    margin = smallest_margin(design, STUDY, 0.8)
    assert margin is not None and 0.003 < margin < 0.01
    answers = operating(replace(design, margin=margin), STUDY, 0.0).answers
    assert answers.get("within", 0) + answers.get("reached", 0) == pytest.approx(0.8, abs=0.03)


def test_the_smallest_margin_of_the_dev_sets() -> None:
    # More seeds cannot go below this: about two standard errors of the shared part.
    floor = smallest_margin(SCORE, replace(STUDY, pairs=0.0), 0.8)
    margin = smallest_margin(SCORE, STUDY, 0.8)
    assert floor is not None and margin is not None
    assert 2 * 0.0014 < floor < margin


def test_fewer_looks_need_a_larger_margin() -> None:
    short = smallest_margin(Design((3, 5), 0.01, "score"), STUDY, 0.8)
    long = smallest_margin(SCORE, STUDY, 0.8)
    assert short is not None and long is not None and short > long


def test_no_margin_without_enough_pairs() -> None:
    assert smallest_margin(Design((3,), 0.01, "score"), replace(STUDY, df=0), 0.8) is None
