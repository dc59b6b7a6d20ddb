"""The verdict for every pair of states, and the sentence that stands behind it."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest

from orchestrator.decision.answer import Bounded
from orchestrator.decision.verdict import (
    Finding,
    minutes_state,
    score_state,
    sentence_of,
    verdict_of,
)

VERDICTS = {"YES", "NO", "NO DIFFERENCE THAT MATTERS", "NOT DECIDED"}


@pytest.mark.parametrize(
    ("score", "fewer", "not_fewer", "undecided"),
    [
        ("reached", "YES", "NO", "NOT DECIDED"),
        ("lower", "NO", "NO", "NO"),
        ("open", "NOT DECIDED", "NO", "NOT DECIDED"),
    ],
)
def test_a_question_about_minutes_needs_both(
    score: str, fewer: str, not_fewer: str, undecided: str
) -> None:
    states = ("fewer", "not fewer", "open")
    assert [verdict_of("minutes", score, each) for each in states] == [fewer, not_fewer, undecided]


@pytest.mark.parametrize(
    ("score", "verdict"),
    [
        ("within", "NO DIFFERENCE THAT MATTERS"),
        ("better", "YES"),
        ("lower", "NO"),
        ("open", "NOT DECIDED"),
    ],
)
def test_a_question_about_the_score_ignores_minutes(score: str, verdict: str) -> None:
    for minutes in ("fewer", "not fewer", "open"):
        assert verdict_of("score", score, minutes) == verdict


@pytest.mark.parametrize(
    ("low", "high", "state"),
    [
        (0.82, 0.97, "fewer"),
        (0.82, 1.00, "open"),
        (1.01, 1.20, "not fewer"),
        (0.96, 1.04, "not fewer"),
        (0.95, 1.05, "not fewer"),
        (0.90, 1.04, "open"),
        (0.96, 1.10, "open"),
        (0.96, 0.99, "fewer"),  # it is surely fewer, if by little
        (None, None, "open"),
        (0.82, None, "open"),
    ],
)
def test_the_state_of_the_minutes(low: float | None, high: float | None, state: str) -> None:
    assert minutes_state(Bounded(1.0, low, high)) == state


def test_minutes_that_were_not_measured_are_open() -> None:
    assert minutes_state(None) == "open"


@pytest.mark.parametrize(
    ("low", "high", "of_minutes", "of_score"),
    [
        (-0.007, 0.004, "reached", "within"),
        (-0.007, 0.03, "reached", "open"),
        (0.002, 0.03, "reached", "better"),
        (0.002, 0.008, "reached", "within"),  # a small difference is certain
        (-0.008, -0.002, "reached", "within"),
        (-0.03, -0.002, "lower", "lower"),
        (-0.03, 0.004, "open", "open"),
        (-0.03, 0.03, "open", "open"),
        (None, None, "open", "open"),
    ],
)
def test_the_state_of_the_score(
    low: float | None, high: float | None, of_minutes: str, of_score: str
) -> None:
    difference = Bounded(0.0, low, high)
    assert score_state("minutes", difference, 0.01) == of_minutes
    assert score_state("score", difference, 0.01) == of_score


def sentence(ask: str, score: str, minutes: str, **changes: Any) -> str:
    """The sentence of these states; `changes`: low, high, ratio, undecided."""
    low, high = changes.get("low", -0.007), changes.get("high", 0.004)
    difference = Bounded((low + high) / 2, low, high)
    ratio = changes.get("ratio", Bounded(0.9, 0.82, 0.97))
    findings = Finding(score, difference), Finding(minutes, ratio)
    return sentence_of(ask, 0.01, *findings, changes.get("undecided", ""))


def test_the_sentence_says_what_decided() -> None:
    assert sentence("minutes", "reached", "fewer") == (
        "The scores are equal within 0.01, and an epoch takes 0.90 of the minutes."
    )
    assert sentence("minutes", "reached", "fewer", high=0.03).startswith(
        "The scores are equal within 0.01, or better, and"
    )
    assert sentence("minutes", "reached", "fewer", low=0.002, high=0.03).startswith(
        "The score is higher by 0.016, and"
    )
    assert sentence("minutes", "reached", "fewer", low=-0.008, high=-0.002).startswith(
        "The scores are equal within 0.01 (the difference of 0.005 is certain, but smaller), and"
    )
    assert sentence("score", "within", "open", low=0.002, high=0.008) == (
        "The scores are equal within 0.01 (the difference of 0.005 is certain, but smaller)."
    )
    assert sentence("score", "lower", "open", low=-0.03, high=-0.01) == (
        "The score is lower by 0.020."
    )


def test_a_lower_score_needs_no_minutes() -> None:
    lower = {"low": -0.03, "high": -0.01}
    assert sentence("minutes", "lower", "open", ratio=None, **lower) == (
        "The score is lower by 0.020."
    )
    assert sentence("minutes", "lower", "fewer", **lower).endswith("0.90 of the minutes.")
    assert "are not measured" in sentence("minutes", "reached", "open", ratio=None)


def test_minutes_that_answer_alone_come_first() -> None:
    text = sentence("minutes", "open", "not fewer", ratio=Bounded(1.02, 1.01, 1.04))
    assert text.startswith("An epoch takes 1.02 of the minutes, which is not fewer. The scores")


def test_why_the_score_is_open_may_be_said() -> None:
    text = sentence("minutes", "open", "fewer", undecided="The scores wait")
    assert text == "The scores wait, and an epoch takes 0.90 of the minutes."
    assert "wait" not in sentence("minutes", "lower", "fewer", undecided="The scores wait")


def test_every_state_has_a_sentence_and_a_verdict_from_the_closed_set() -> None:
    scores = {
        "minutes": ("reached", "lower", "open"),
        "score": ("within", "better", "lower", "open"),
    }
    for ask, states in scores.items():
        for score, minutes in product(states, ("fewer", "not fewer", "open")):
            assert verdict_of(ask, score, minutes) in VERDICTS
            for difference in (None, Bounded(0.02), Bounded(-0.02, -0.03, -0.01)):
                for ratio in (
                    (None, Bounded(0.9, 0.8, 0.99))
                    if minutes == "open"
                    else (Bounded(0.9, 0.8, 0.99),)
                ):
                    text = sentence_of(
                        ask, 0.01, Finding(score, difference), Finding(minutes, ratio)
                    )
                    assert text.endswith(".") and "None" not in text and "  " not in text
