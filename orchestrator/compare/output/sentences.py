"""A comparison as sentences: the answer, the verdicts, and what a reader needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.compare.methods import ANNEALED, ARRP
from orchestrator.compare.options import ComparisonOptions
from orchestrator.compare.statistics.bootstrap import Estimate
from orchestrator.compare.statistics.hypothesis_tests import CONFIDENCE, LEVEL
from orchestrator.compare.statistics.speed_up import NOT_IN_TURN

if TYPE_CHECKING:
    from orchestrator.compare.results import Contrast, Standing


def answer(
    options: ComparisonOptions,
    baseline: str,
    standings: Sequence[Standing],
    contrasts: Sequence[Contrast],
) -> str:
    """ARRP against annealed PCGrad, or the best method against the baseline.

    It is empty if no method has honest scores.
    """
    arrp = [c for c in contrasts if c.method.startswith(ARRP)] if baseline == ANNEALED else []
    ranks = {standing.method: rank for rank, standing in enumerate(standings)}
    ranked = sorted(
        arrp or contrasts, key=lambda c: ("any freeze" not in c.method, ranks[c.method])
    )
    if not ranked or not any(standing.scores for standing in standings):
        return ""
    contrast = ranked[0]
    name = "ARRP against annealed PCGrad" if arrp else f"{contrast.method} against {baseline}"
    if contrast.problem:
        return f"{name}: cannot be compared, {contrast.problem}."
    difference = interval(contrast.differences[options.metric], 4)
    one, other = contrast.scores[contrast.method], contrast.scores[contrast.baseline]
    count = len(contrast.seeds)
    seeds = f"{count} paired seeds" if count > 1 else "1 seed"
    return (
        f"{name}: {options.metric} {one:.4f} against {other:.4f}, {difference} "
        f"({CONFIDENCE:.0%}, {seeds}): {contrast.sentence}; {speed(contrast)}."
    )


def verdict_of(contrast: Contrast, metric: str, margin: float) -> str:
    """One of: better, worse, comparable within the margin, undecided, not compared."""
    if contrast.problem:
        return f"not compared: {contrast.problem}"
    if not contrast.outcome:
        return "undecided (one seed does not show how seeds differ)"
    if contrast.outcome == "equivalent":
        sure = contrast.p_different is not None and contrast.p_different < LEVEL
        which = "better" if contrast.differences[metric].value > 0 else "worse"
        return f"comparable within {margin:g}" + (f" ({which}, by less than that)" if sure else "")
    if contrast.outcome == "undecided":
        seeds = contrast.seeds_needed
        return f"undecided (needs {f'about {seeds} seeds' if seeds else 'more dev examples'})"
    return contrast.outcome


def speed(contrast: Contrast) -> str:
    """`3.10 [2.90, 3.31] times as fast per epoch`, or why no speed-up is claimed."""
    if contrast.speed_up is not None:
        same_score = contrast.to_same_score
        reached = f" ({ratio(same_score)} to the same score)" if same_score else ""
        return f"{ratio(contrast.speed_up)} times as fast per epoch{reached}"
    claim = "no speed-up is claimed" if contrast.apart is not None else "minutes not comparable"
    return f"{claim} ({contrast.speed_problem})"


def ratio(speed_up: Estimate) -> str:
    """`3.10 [2.90, 3.31]`."""
    return f"{speed_up.value:.2f}" if speed_up.low is None else interval(speed_up, 2, "")


def interval(estimate: object, digits: int, sign: str = "+") -> str:
    """`+0.0020 [-0.0010, +0.0051]` of anything that has value, low and high."""
    # Adding 0.0 turns -0.0 into 0.0.
    ends = (round(getattr(estimate, key), digits) + 0.0 for key in ("value", "low", "high"))
    value, low, high = (f"{end:{sign}.{digits}f}" for end in ends)
    return f"{value} [{low}, {high}]"


def notes(
    standings: Sequence[Standing], contrasts: Sequence[Contrast], trials_minutes: bool = False
) -> list[str]:
    """What a reader of the numbers needs to know.

    Args:
        trials_minutes: whether the frontier's minutes are the trials' own.
    """
    lines = []
    for standing in standings:
        if standing.problem:
            lines.append(f"{standing.method}: no honest score: {standing.problem}.")
        if standing.not_read:
            bias = "" if len(standing.seeds) > 1 else " Its score may be too high."
            lines.append(
                f"{standing.method}: the predictions of {standing.read} configurations were read; "
                f"{standing.not_read} more could have been chosen.{bias}"
            )
    timed = [standing for standing in standings if standing.minutes_per_epoch is not None]
    for problem in dict.fromkeys(each.minutes_problem for each in timed if each.minutes_problem):
        names = ", ".join(each.method for each in timed if each.minutes_problem == problem)
        lines.append(
            f"* minutes not comparable ({problem}): {names}. orch time measures fair minutes."
        )
    if trials_minutes or any(contrast.apart for contrast in contrasts):
        lines.append(f"Grey ratios and the frontier claim no speed-up: {NOT_IN_TURN}.")
    for contrast in contrasts:
        if contrast.dropped_seeds and not contrast.problem:
            seeds = ", ".join(map(str, contrast.dropped_seeds))
            lines.append(
                f"{contrast.method}: seeds that only one method has are left out: {seeds}."
            )
    if any(len(standing.seeds) == 1 and standing.scores for standing in standings):
        lines.append("One seed: the interval covers only the uncertainty from the dev examples.")
    if sum(contrast.p_different is not None for contrast in contrasts) > 1:
        lines.append(
            "p-values are corrected for the number of comparisons (Holm's method), so that one "
            "error rate holds for all lines together."
        )
    return lines
