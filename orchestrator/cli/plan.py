"""`orch plan`: what fresh seeds can decide, and what that costs, before compute is spent."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.streams import outlive_readers
from orchestrator.cli.terminal import (
    Json,
    Out,
    Overrides,
    Patience,
    Profile,
    print_json,
    progress_console,
    prose_width,
)

if TYPE_CHECKING:
    from orchestrator.decision.plan.power_plan import Plan, Row
    from orchestrator.ledger import Ledger
    from orchestrator.spec import SweepSpec

#: Of the table, and of everything if there is no terminal.
WIDTH = 80


def plan_sweep(
    what: Annotated[
        str, typer.Argument(metavar="FILE|SWEEP", help="A sweep file, or a sweep that has run.")
    ],
    margin: Annotated[
        float | None,
        typer.Option(min=0, max=1, metavar="M", help="The margin, instead of decide.margin."),
    ] = None,
    power: Annotated[
        float,
        typer.Option(min=0.05, max=0.99, metavar="P", help="The wanted probability of an answer."),
    ] = 0.8,
    deviation: Annotated[
        float | None,
        typer.Option(
            "--sd", min=0, metavar="X", help="The standard deviation between pairs, if known."
        ),
    ] = None,
    pilot: Annotated[
        bool,
        typer.Option("--pilot", help="First train a few trials that measure the chance."),
    ] = False,
    profile: Profile = None,
    overrides: Overrides = None,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Plan the confirming stage: which margins can be decided, and with how many fresh seeds.

    The chance in a comparison comes from the sweep's own trials, from a pilot, or from --sd.
    Without any of them it is estimated from the number of dev examples.
    """
    from orchestrator.decision.plan.power_plan import plan, with_margin
    from orchestrator.errors import UserError

    spec, ledger = _what(what, profile, overrides or [], out)
    if margin is not None and not 0 < margin < 1:
        raise UserError(f"--margin {margin:g}: outside its range; allowed: above 0, below 1")
    if pilot:
        outlive_readers()
        _run_pilot(spec, out, as_json)
    with Patience("computing how often each margin is decided"):
        asked = spec if margin is None else with_margin(spec, margin)
        planned = plan(asked, ledger, power=power, deviation=deviation)
    if as_json:
        print_json(planned.to_dict())
    else:
        again = f"{what} --profile {profile}" if profile else what
        print("\n".join(lines(planned, again, prose_width() or WIDTH)))


def _what(
    what: str, profile: str | None, overrides: Sequence[str], out: str
) -> tuple[SweepSpec, Ledger]:
    """The sweep of a file or of a folder, and its ledger, which may be empty."""
    from pydantic import ValidationError

    from orchestrator.errors import UserError
    from orchestrator.ledger import Ledger
    from orchestrator.ledger.listing import find_sweep, resolved_spec
    from orchestrator.spec import SweepSpec, load_spec

    if os.path.isfile(what):
        spec = load_spec(what, profile, overrides)
        return spec, Ledger(out, spec.name)
    if profile is not None or overrides:
        raise UserError("--profile and --set need a sweep file, not the name of a sweep")
    ledger = find_sweep(what, out)
    try:
        return SweepSpec.model_validate({"name": ledger.name, **resolved_spec(ledger)}), ledger
    except ValidationError as error:
        path = ledger.folder.path
        raise UserError(f"{path}: its sweep.yaml is not valid; plan its sweep file") from error


def _run_pilot(spec: SweepSpec, out: str, as_json: bool) -> None:
    """Train the pilot's trials that are missing."""
    from orchestrator.decision.plan.pilot import pilot_of
    from orchestrator.decision.plan.power_plan import question_in
    from orchestrator.sweep import run_sweep

    outcome = run_sweep(pilot_of(spec, question_in(spec)), out, progress_console(stderr=True))
    if outcome.exit_code:
        raise typer.Exit(outcome.exit_code)


def lines(plan: Plan, what: str, width: int = WIDTH) -> Iterator[str]:
    """The plan as text.

    Args:
        what: the arguments that name the sweep, for the command that runs a pilot.
        width: in characters.
    """
    yield from (line for text in _texts(plan, width) for line in _wrapped(text, width))
    if plan.guessed:
        yield f"    orch plan {what} --pilot"


def _texts(plan: Plan, width: int) -> Iterator[str]:
    """What is planned, before it is wrapped."""
    yield f"{plan.name}: what fresh seeds can decide"
    yield plan.question
    yield ""
    yield (
        f"compared: {' and '.join(plan.compare[:-1])} with {plan.compare[-1]}, on {plan.metric}, "
        f"margin {plan.margin:g}"
    )
    yield f"looks:    after {', '.join(map(str, plan.looks))} pairs of fresh seeds"
    if plan.in_budget is not None and plan.in_budget != plan.looks:
        cost = "" if plan.budget_minutes is None else f" ({_number(plan.budget_minutes)} minutes)"
        which = ", ".join(map(str, plan.in_budget)) or "none"
        yield f"budget:   looks that fit decide.budget{cost}: {which}"
    if plan.pair_deviation is not None and plan.shared_deviation is not None:
        yield from _chance(plan)
        yield ""
        yield from _table(plan) if width >= WIDTH else _list(plan)
        yield (
            "equal: the methods do not differ. worse: the first one is worse by the margin. Pairs, "
            "trials, minutes of training and hours are those of equal methods"
            + (f", with {plan.trials_at_once} trials at once." if plan.trials_at_once > 1 else ".")
        )
    for note in plan.notes:
        yield ""
        yield note


def _chance(plan: Plan) -> Iterator[str]:
    yield (
        f"chance:   {plan.pair_deviation:.3g} between pairs of seeds, and "
        f"{plan.shared_deviation:.3g} from the dev examples, which more seeds do not reduce "
        f"(standard deviations of the difference, {plan.source})"
    )
    assert plan.smallest_at_all is not None
    best = "none" if plan.smallest is None else _up(plan.smallest)
    yield (
        f"smallest margin that can be decided, with a probability of {plan.power:.0%} if the "
        f"methods are equal: {_up(plan.smallest_at_all)} with any number of seeds, {best} with "
        "these looks"
    )


def _table(plan: Plan) -> Iterator[str]:
    yield "           answered if          pairs        trials       minutes       hours"
    yield "   margin  equal  worse   mean   most   mean   most   mean   most   mean   most"
    for row in plan.rows:
        mark = ">" if row.margin == plan.margin else " "
        yield f"{mark}{row.margin:>8g}  {_cells(row)}"


def _list(plan: Plan) -> Iterator[str]:
    """The table's rows on a narrow terminal."""
    for row in plan.rows:
        chances = f"answered if equal {row.if_equal:.0%}, if worse {row.if_worse:.0%}"
        cost = [f"pairs {row.mean_pairs:.1f}, at most {row.most_pairs}"]
        spans = {"trials": row.trials, "minutes": row.minutes, "hours": row.hours}
        cost += [f"{name} {_span(span)}" for name, span in spans.items() if span is not None]
        text = "; ".join([chances, *cost]) if row.reachable else _cells(row)
        yield f"{'>' if row.margin == plan.margin else ' '} margin {row.margin:g}: {text}"


def _span(span: tuple[float, float]) -> str:
    return f"{_number(span[0])}, at most {_number(span[1])}"


def _cells(row: Row) -> str:
    if not row.reachable:
        return "out of reach with any number of seeds"
    spans = [
        (f"{row.mean_pairs:.1f}", str(row.most_pairs)),
        (f"{row.trials[0]:.0f}", str(row.trials[1])),
        *(("-", "-") if span is None else tuple(map(_number, span))
          for span in (row.minutes, row.hours)),
    ]  # fmt: skip
    chances = f"{row.if_equal:>5.0%}  {row.if_worse:>5.0%}"
    return chances + "".join(f"  {mean:>5} {most:>6}" for mean, most in spans)


def _number(value: float) -> str:
    return f"{value:.2g}" if value < 10 else f"{value:,.0f}"


def _up(value: float) -> str:
    from orchestrator.decision.plan.power_plan import round_up

    return f"{round_up(value):g}"


def _wrapped(text: str, width: int) -> list[str]:
    indent = " " * 10 if text.split(":")[0] in ("compared", "chance") else "  " * (text[:1] in " >")
    if len(text) <= width:
        return [text]
    return textwrap.wrap(
        text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
