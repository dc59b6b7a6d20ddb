"""A comparison's figures as sentences: the answer, the verdicts, what a reader must know."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.compare.methods import ANNEALED, ARRP
from orchestrator.compare.options import Question
from orchestrator.compare.results import Contrast, Standing
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE, LEVEL
from orchestrator.compare.statistics.speed_up import NOT_IN_TURN, SpeedUp


def answer(
    question: Question,
    baseline: str,
    standings: Sequence[Standing],
    contrasts: Sequence[Contrast],
) -> str:
    """ARRP against annealed PCGrad, or the best method against the baseline; empty if no method
    has honest scores to answer with."""
    ours = [c for c in contrasts if c.method.startswith(ARRP)] if baseline == ANNEALED else []
    order = {made.method: place for place, made in enumerate(standings)}
    found = sorted(ours or contrasts, key=lambda c: ("any freeze" not in c.method, order[c.method]))
    if not found or not any(made.scores for made in standings):
        return ""
    made = found[0]
    name = "ARRP against annealed PCGrad" if ours else f"{made.method} against {baseline}"
    if made.problem:
        return f"{name}: cannot be said, {made.problem}."
    d = made.differences[question.metric]
    one, other = made.scores[made.method], made.scores[made.baseline]
    seeds = f"{len(made.seeds)} paired seeds" if len(made.seeds) > 1 else "1 seed"
    return (
        f"{name}: {question.metric} {one:.4f} against {other:.4f}, {interval(d, 4)} "
        f"({CONFIDENCE:.0%}, {seeds}): {made.sentence}; {speed(made)}."
    )


def verdict_of(made: Contrast, metric: str, margin: float) -> str:
    """One of: better or worse, comparable within the margin, cannot be said."""
    if made.problem:
        return f"not compared: {made.problem}"
    unknown = "cannot be said with these data"
    if not made.outcome:
        return f"{unknown} (one seed does not tell how seeds differ)"
    value = made.differences[metric].value
    if made.outcome == "equivalent":
        sure = made.p_different is not None and made.p_different < LEVEL
        which = f" ({'better' if value > 0 else 'worse'}, by less than that)" if sure else ""
        return f"comparable within {margin:g}{which}"
    if made.outcome == "undecided":
        needs = f"needs about {made.seeds_needed} seeds"
        return f"{unknown} ({needs if made.seeds_needed else 'needs more dev examples'})"
    return made.outcome


def speed(made: Contrast) -> str:
    """`3.10 [2.90, 3.31] times as fast an epoch`, or why that is not said."""
    if made.speed_up is not None:
        reached = f" ({ratio(made.to_same_score)} to the same score)" if made.to_same_score else ""
        return f"{ratio(made.speed_up)} times as fast an epoch{reached}"
    if made.apart is not None:
        return f"no speed-up is claimed ({made.speed_problem})"
    return f"minutes not comparable ({made.speed_problem})"


def ratio(made: SpeedUp) -> str:
    """`3.10 [2.90, 3.31]`."""
    return f"{made.value:.2f}" if made.low is None else interval(made, 2, "")


def interval(made: object, digits: int, sign: str = "+") -> str:
    """`+0.0020 [-0.0010, +0.0051]` of anything with value, low and high."""
    # + 0.0: no minus in front of a zero.
    ends = (round(getattr(made, key), digits) + 0.0 for key in ("value", "low", "high"))
    value, low, high = (f"{end:{sign}.{digits}f}" for end in ends)
    return f"{value} [{low}, {high}]"


def notes(
    standings: Sequence[Standing], contrasts: Sequence[Contrast], untimed: bool = False
) -> list[str]:
    """What a reader of the figures must know.

    Args:
        untimed: the frontier's minutes are the trials' own.
    """
    found = []
    for made in standings:
        if made.problem:
            found.append(f"{made.method}: no honest score: {made.problem}.")
        if made.not_read:
            flatters = "" if len(made.seeds) > 1 else "; its score may flatter it"
            found.append(
                f"{made.method}: predictions of {made.read} configurations were read, "
                f"{made.not_read} more were near enough to be chosen{flatters}."
            )
    timed = [made for made in standings if made.minutes_per_epoch is not None]
    for problem in dict.fromkeys(made.minutes_problem for made in timed if made.minutes_problem):
        names = ", ".join(made.method for made in timed if made.minutes_problem == problem)
        found.append(f"* minutes not comparable ({problem}): {names}; orch time takes fair ones.")
    if untimed or any(pair.apart for pair in contrasts):
        found.append(f"Ratios in grey and a frontier claim no speed-up: {NOT_IN_TURN}.")
    for pair in contrasts:
        if pair.dropped_seeds and not pair.problem:
            seeds = ", ".join(map(str, pair.dropped_seeds))
            found.append(f"{pair.method}: seeds without a partner were dropped: {seeds}.")
    if any(len(made.seeds) == 1 and made.scores for made in standings):
        found.append("One seed: the interval holds the dev examples' uncertainty only.")
    if sum(pair.p_different is not None for pair in contrasts) > 1:
        found.append("p-values are Holm's: as many comparisons as lines, one error rate for all.")
    return found
