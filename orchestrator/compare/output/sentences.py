"""A comparison as sentences: the verdicts, and what a reader needs to know."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.compare.statistics.bootstrap import Estimate
from orchestrator.compare.statistics.hypothesis_tests import LEVEL
from orchestrator.compare.statistics.speed_up import NOT_IN_TURN

if TYPE_CHECKING:
    from orchestrator.compare.results import Contrast, Standing


def percent(share: float) -> str:
    """`95 %`, `99.6 %`."""
    return f"{100 * share:.3g} %"


def verdict_of(contrast: Contrast, metric: str, margin: float) -> str:
    """One of: better, worse, comparable within the margin, not decided, not compared."""
    if contrast.problem:
        return f"not compared: {contrast.problem}"
    if contrast.part_of:
        return f"part of {contrast.part_of}"
    if not contrast.outcome:
        return "not decided (one seed does not show how seeds differ)"
    if contrast.outcome == "equivalent":
        sure = contrast.p_different is not None and contrast.p_different < LEVEL
        which = "better" if contrast.differences[metric].value > 0 else "worse"
        return f"comparable within {margin:g}" + (f" ({which}, by less than that)" if sure else "")
    return "not decided" if contrast.outcome == "undecided" else contrast.outcome


def ratio(estimate: Estimate) -> str:
    """`0.90 [0.82, 0.97]`."""
    return f"{estimate.value:.2f}" if estimate.low is None else interval(estimate, 2, "")


def interval(estimate: object, digits: int, sign: str = "+") -> str:
    """`+0.0020 [-0.0010, +0.0051]` of anything that has value, low and high."""
    # Adding 0.0 turns -0.0 into 0.0.
    ends = (round(getattr(estimate, key), digits) + 0.0 for key in ("value", "low", "high"))
    value, low, high = (f"{end:{sign}.{digits}f}" for end in ends)
    return f"{value} [{low}, {high}]"


def notes(
    standings: Sequence[Standing],
    contrasts: Sequence[Contrast],
    metric: str,
    trials_minutes: bool = False,
) -> list[str]:
    """What a reader of the numbers needs to know.

    Args:
        metric: the compared one.
        trials_minutes: whether the frontier's minutes are the trials' own.
    """
    lines = []
    for standing in standings:
        lines += _notes_on(standing, metric)
    timed = [standing for standing in standings if standing.minutes_per_epoch is not None]
    for problem in dict.fromkeys(each.minutes_problem for each in timed if each.minutes_problem):
        names = ", ".join(each.method for each in timed if each.minutes_problem == problem)
        lines.append(
            f"* minutes not comparable ({problem}): {names}. orch time measures fair minutes."
        )
    if trials_minutes or any(contrast.trials_ratio for contrast in contrasts):
        lines.append(f"Grey ratios and the frontier claim no speed-up: {NOT_IN_TURN}.")
    for contrast in contrasts:
        for some, what in (
            (contrast.unpaired_seeds, "count without a partner"),
            (contrast.dropped_seeds, "are left out, because the pairs alone are more exact"),
        ):
            if some:
                named = ", ".join(map(str, some))
                lines.append(f"{contrast.method}: seeds that only one method has {what}: {named}.")
    if any(len(standing.seeds) == 1 and standing.scores for standing in standings):
        lines.append("One seed: the interval covers only the uncertainty from the dev examples.")
    tested = sum(contrast.p_different is not None for contrast in contrasts)
    if tested > 1:
        lines.append(
            f"Verdicts are corrected for the {tested} comparisons (Holm's method), so that one "
            "error rate holds for all lines together. Each interval has the level of its verdict."
        )
    for name in dict.fromkeys(each.part_of for each in contrasts if each.part_of):
        parts = ", ".join(each.method for each in contrasts if each.part_of == name)
        lines.append(
            f"{name} is tested as a whole. Its parts have 95 % intervals of their own and no "
            f"verdict: {parts}. --methods with one of them tests that part instead."
        )
    return lines


def _notes_on(standing: Standing, metric: str) -> list[str]:
    name, lines = standing.method, []
    if standing.problem:
        lines.append(f"{name}: no honest score: {standing.problem}.")
    if standing.score_with_diverged is not None:
        lines.append(
            f"{name}: {diverged(standing)} with {standing.configuration}. Scores are given that "
            f"training converges. If a diverged seed counts as a guess, {metric} is "
            f"{standing.score_with_diverged:.4f} instead of {standing.scores[metric].value:.4f}."
        )
    if standing.lacking:
        one = standing.lacking == 1
        lines.append(
            f"{name}: {standing.lacking} configuration{' lacks' if one else 's lack'} seeds that "
            "the others have, and cannot be chosen."
        )
    if standing.not_read:
        bias = "" if len(standing.seeds) > 1 else " Its score may be too high."
        lines.append(
            f"{name}: the predictions of {standing.read} configurations were read; "
            f"{standing.not_read} more could have been chosen.{bias}"
        )
    return lines


def diverged(standing: Standing) -> str:
    """`1 of 3 diverged`, of the configuration that was chosen most often."""
    return f"{standing.diverged} of {standing.tried} diverged"
