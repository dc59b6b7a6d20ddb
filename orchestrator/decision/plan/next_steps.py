"""What would decide a question that is open: how many fresh seeds, how long, and how likely."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.decision.plan.power_plan import Plan, Row, plan, round_up
from orchestrator.errors import UserError
from orchestrator.ledger.current import confirming

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord
    from orchestrator.spec import SweepSpec
    from orchestrator.spec.decide import DecideSpec


def plan_lines(
    spec: SweepSpec | None, decide: DecideSpec, ledger: Ledger, trials: Sequence[TrialRecord]
) -> list[str]:
    """What to run next if a sweep's score is open; empty if nothing is known about the chance.

    Args:
        spec: the sweep's resolved spec; None if it cannot be read.
        decide: the question, also where the sweep file has none.
        trials: all that count, of both stages.
    """
    if spec is None:
        return []
    try:
        asked = spec.model_copy(update={"decide": decide})
        known = plan(asked, ledger, trials, margins=())
    except (UserError, ValueError):  # the lines only help; the answer stands without them
        return []
    if not known.rows:
        return []
    begun = spec.resolved.decision is not None and bool(
        confirming(trials, spec.resolved.decision.number)
    )
    return list(_lines(known, spec, begun))


def cost_lines(known: Plan) -> list[str]:
    """What confirming costs and what it can decide, for `--dry-run` and the start of the stage."""
    if known.in_budget is not None and not known.in_budget:
        return [
            f"confirming: the first look ({known.looks[0]} pairs) does not fit decide.budget, so "
            "nothing is confirmed"
        ]
    looks = known.in_budget or known.looks
    sides = len(known.compare)
    row = known.within or (known.rows[0] if known.rows else None)
    trials = f"{looks[0] * sides} to " * (len(looks) > 1) + f"{looks[-1] * sides} trials"
    length = f", at most {_hours(row.hours[1])}" if row is not None and row.hours else ""
    lines = [
        f"confirming: looks after {', '.join(map(str, looks))} pairs of fresh seeds, {trials}"
        + length
    ]
    if known.out_of_reach:
        lines += [f"  {note}" for note in known.notes]
    elif row is not None:
        lines.append(f"  {_chance(known, row)}")
    return lines


def _lines(known: Plan, spec: SweepSpec, begun: bool) -> Iterator[str]:
    if known.out_of_reach:
        yield from known.notes
        return
    row = known.rows[0]
    if not begun and known.within is not None:
        row = known.within
    yield (
        f"To decide: up to {row.most_pairs} pairs of fresh seeds ({row.trials[1]} trials"
        f"{_span(row)})."
    )
    yield _chance(known, row)
    if spec.decide is None:
        yield "Add a decide block to the sweep file, and run orch sweep again."
    elif begun:
        yield (
            "The planned looks are over. orch sweep FILE --reopen begins a new decision on other "
            "seeds; raise decide.budget or decide.looks for it."
        )
    elif known.in_budget != known.looks:
        yield "A larger decide.budget allows more looks."


def _chance(known: Plan, row: Row) -> str:
    smallest, best = "", known.smallest
    if row.most_pairs != known.looks[-1]:
        best = known.smallest_in_budget
    if row.if_equal < known.power and best is not None:
        smallest = f" These looks would decide a margin of {round_up(best):g}."
    estimated = "  (estimated)" if known.guessed else ""
    return (
        f"Margin {row.margin:g}: an answer in {row.if_equal:.0%} of cases if the methods are "
        f"equal, on average after {row.mean_pairs:.0f} pairs.{smallest}{estimated}"
    )


def _span(row: Row) -> str:
    return "" if row.hours is None else f", at most {_hours(row.hours[1])}"


def _hours(hours: float) -> str:
    if 60 * hours < 89.5:  # else it may be infinite
        minutes = max(1, round(60 * hours))
        return f"{minutes} minute{'s' if minutes > 1 else ''}"
    return f"{hours:.2g} hours"
