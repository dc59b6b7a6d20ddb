"""One method against the baseline: its verdict, from the scores and the minutes."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.decision.answer import verdict
from orchestrator.decision.answer.answer import Bounded, Contest, Side
from orchestrator.decision.answer.minutes import Minutes
from orchestrator.decision.answer.sides import with_minutes, without_common_parts
from orchestrator.spec.decide import DecideSpec


@dataclass(frozen=True)
class Scores:
    """What the scores say about a method against the baseline, before minutes join them.

    Attributes:
        sides: the method and the baseline.
        undecided: why the score is open, if not because its interval is too wide.
    """

    sides: tuple[Side, Side]
    difference: Bounded | None = None
    state: str = "open"
    look: int = 0
    looks: int = 0
    pairs: int = 0
    undecided: str = ""
    problem: str = ""


def contest_of(decide: DecideSpec, scores: Scores, minutes: Minutes) -> Contest:
    """The contest with its verdict, from scores and minutes."""
    one_id, other_id = (side.config_id for side in scores.sides)
    ratio = minutes.ratio(one_id, other_id)
    times = verdict.minutes_state(ratio)
    if scores.problem:
        sentence = f"The methods cannot be compared: {scores.problem}."
    else:
        sentence = verdict.sentence_of(
            decide.ask, decide.margin, verdict.Finding(scores.state, scores.difference),
            verdict.Finding(times, ratio), scores.undecided,
        )  # fmt: skip
    one, other = without_common_parts(*with_minutes(scores.sides, decide.metric, minutes))
    return Contest(
        one=one,
        other=other,
        verdict=verdict.verdict_of(decide.ask, scores.state, times),
        sentence=sentence,
        score_state=scores.state,
        minutes_state=times,
        difference=scores.difference,
        minutes_ratio=ratio,
        to_same_score=minutes.to_same_score(one_id, other_id, decide.metric),
        minutes_problem="" if ratio is not None else minutes.problem,
        look=scores.look,
        looks=scores.looks,
        pairs=scores.pairs,
        problem=scores.problem,
    )
