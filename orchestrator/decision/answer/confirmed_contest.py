"""A method against the baseline from the looks at fresh seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.compare.statistics.dev_predictions import PredictionsError
from orchestrator.decision.answer.answer import Bounded, Side
from orchestrator.decision.answer.contests import Scores
from orchestrator.decision.answer.sides import count_diverged, side_of
from orchestrator.decision.confirming import Stage

if TYPE_CHECKING:
    from orchestrator.decision.answer.question import Question
    from orchestrator.decision.pairs import Pair
    from orchestrator.decision.rule.looks import Look


def stage_of(question: Question) -> Stage | None:
    """The confirming stage; None if nothing has been fixed for it."""
    spec, decision = question.spec, question.decision
    if spec is None or spec.decide is None or decision is None:
        return None
    return Stage(question.ledger, spec, decision, question.trials)


def taken_looks(stage: Stage | None) -> tuple[dict[str, list[Look]], str]:
    """The looks that were taken by challenger, and why they cannot be computed."""
    if stage is None or not any(stage.pairs.values()):
        return {}, ""
    try:
        return stage.looks, ""
    except PredictionsError as error:
        return {name: [] for name in stage.decide.challengers}, str(error)


def confirmed_scores(
    question: Question, stage: Stage, name: str, looks: Sequence[Look], problem: str
) -> Scores:
    """What the last look says of a challenger.

    Args:
        problem: why the looks cannot be computed.
    """
    pairs = stage.pairs.get(name, [])
    counted = pairs[: stage.decision.looks[looks[-1].number - 1]] if looks else pairs
    return Scores(
        _paired_sides(question, stage, name, counted),
        difference=_bounded(looks),
        state=looks[-1].state if looks else "open",
        look=looks[-1].number if looks else 0,
        looks=len(stage.decision.looks),
        pairs=len(counted),
        problem=problem,
    )


def _paired_sides(
    question: Question, stage: Stage, name: str, pairs: Sequence[Pair]
) -> tuple[Side, Side]:
    decide, ids = stage.decide, stage.decision.config_ids
    good = [pair for pair in pairs if pair.converged]
    one, other = (
        side_of(question, each, ids[each], own, decide.metric, count_diverged(all_of))
        for each, own, all_of in (
            (name, [pair.one for pair in good], [pair.one for pair in pairs]),
            (decide.baseline, [pair.other for pair in good], [pair.other for pair in pairs]),
        )
    )
    return one, other


def _bounded(looks: Sequence[Look]) -> Bounded | None:
    """The last look's interval; a single pair has none."""
    if not looks or not math.isfinite(looks[-1].estimate):
        return None
    ends = [end if math.isfinite(end) else None for end in (looks[-1].low, looks[-1].high)]
    return Bounded(looks[-1].estimate, *ends)
