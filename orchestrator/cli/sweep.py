"""`orch sweep`: train the missing trials of a sweep."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.compare import print_configurations, print_published
from orchestrator.cli.streams import outlive_readers
from orchestrator.cli.terminal import (
    VOICE,
    File,
    Insecure,
    Json,
    Out,
    Overrides,
    Profile,
    Wide,
    complain,
    print_json,
    print_prose,
    print_table,
    progress_console,
    prose_width,
    say,
)

if TYPE_CHECKING:
    from orchestrator.decision.plan.power_plan import Plan
    from orchestrator.ledger import Ledger
    from orchestrator.spec import SweepSpec
    from orchestrator.sweep import SweepOutcome


_INTERRUPTED = "interrupted; run the same command again to resume"
_NOTHING_YET = "stopping: no trial has started, so nothing is lost"


def sweep(
    file: File,
    profile: Profile = None,
    overrides: Overrides = None,
    out: Out = "sweeps",
    address: Annotated[
        str | None, typer.Option(metavar="A", help="Join this Ray cluster instead of starting one.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials without starting any.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Move an earlier sweep of this name aside and start over."),
    ] = False,
    insecure: Insecure = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="First measure how many trials fit this machine.")
    ] = False,
    reopen: Annotated[
        bool, typer.Option("--reopen", help="Drop the sweep's decision, but none of its trials.")
    ] = False,
    timing: Annotated[
        bool, typer.Option("--timing/--no-timing", help="Time the question's configurations.")
    ] = True,
    confirm: Annotated[
        bool | None,
        typer.Option(
            "--confirm/--no-confirm",
            help="Confirm also where minutes have answered, or never. By default where it matters.",
        ),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="With --dry-run: what acts in each configuration.")
    ] = False,
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Train every trial of a sweep that is not finished. Run it again after any interruption."""
    from orchestrator.spec import load_spec

    outlive_readers()
    spec = load_spec(file, profile, overrides or ())
    if dry_run:
        host = "" if address is not None else _on_this_host(spec, None if fresh else out)
        spec = _probed(spec, address) if probe else spec
        _print_plan(spec, _Layout(as_json, why, wide), host, None if fresh else out)
        return
    from orchestrator.interrupts import Interrupts, cleanup, during
    from orchestrator.ledger.labels import varied_keys
    from orchestrator.progress import make_progress

    progress = make_progress(progress_console(stderr=as_json), varied_keys(spec), spec.name)
    with contextlib.closing(progress), Interrupts(progress.stopping, _INTERRUPTED):
        with cleanup(progress.close), during(_NOTHING_YET, 0):
            progress.doing("loading torch, Ray and MLflow")
            from orchestrator.after_search import AfterOptions
            from orchestrator.ledger import Ledger
            from orchestrator.sweep import RunOptions, run_sweep

            after = AfterOptions(timing, confirm)
            options = RunOptions(address, fresh, insecure, probe, reopen, after)
            outcome = run_sweep(spec, out, progress, options)
        with during(f"stopping: all epochs are kept; orch compare {spec.name} prints this", 0):
            _print_end(outcome, Ledger(out, spec.name), spec, as_json)
            _print_problems(outcome)
    for number in (signal.SIGINT, signal.SIGTERM):  # nothing may change the exit code now
        signal.signal(number, signal.SIG_IGN)
    raise typer.Exit(outcome.exit_code)


def _print_problems(outcome: SweepOutcome) -> None:
    """What keeps the exit code from being 0."""
    for trial, reason in outcome.failed.items():
        complain(f"failed: {trial}: {reason}")
    if outcome.error:
        complain(f"failed: {outcome.error}")
    if outcome.interrupted:
        complain(_INTERRUPTED)
    elif outcome.left_out:
        trials = "1 trial" if outcome.left_out == 1 else f"{outcome.left_out} trials"
        complain(
            f"budget: budget.hours ended before {trials}; run the same command again to train them"
        )


def _print_end(outcome: SweepOutcome, ledger: Ledger, spec: SweepSpec, as_json: bool) -> None:
    """The configurations, published figures beside ours, and the answer."""
    from orchestrator.compare.compare_sweep import SweepTrials, compare_sweep, trials_of
    from orchestrator.compare.options import ComparisonOptions
    from orchestrator.decision.answer.answers import answer_of
    from orchestrator.decision.answer.block import block, in_json
    from trainer.storage.folder import StoreError

    try:
        chosen = trials_of(ledger)
    except StoreError:
        if not outcome.error:
            raise
        chosen = SweepTrials([], 0, {})  # the store was lost, which is reported below
    compared = compare_sweep(ledger, chosen, ComparisonOptions())
    answer = answer_of(ledger, compared)
    if as_json:
        print_json(
            {
                "name": spec.name,
                "trials": outcome.trials,
                "failed": outcome.failed,
                "interrupted": outcome.interrupted,
                "error": outcome.error,
                "left_out": outcome.left_out,
                **in_json(answer),
                "comparison": compared.rows.to_dict(),
            }
        )
        return
    if VOICE.quiet:
        print(block(answer, prose_width()), flush=True)
        return
    ways = (f"orch compare {spec.name} --wide",)
    print_configurations(compared.rows, ways=ways)
    if spec.published is not None and compared.rows.rows:
        print()
        print_published(ledger, chosen.trials, compared.rows, as_json=False, ways=ways)
    print(f"\n{block(answer, prose_width())}", flush=True)


def _probed(spec: SweepSpec, address: str | None) -> SweepSpec:
    from orchestrator.preflight.memory_probe import probed

    return probed(spec, say, address)


def _on_this_host(spec: SweepSpec, out: str | None) -> str:
    """Precision and device of the sweep's trials on this host, or why they are refused."""
    from orchestrator.preflight.precision import preview, this_machine
    from trainer.loop.device import PrecisionError

    try:
        return preview(spec, out, [this_machine(spec)])
    except PrecisionError as problem:
        return f"not here: {problem}"


@dataclass(frozen=True)
class _Layout:
    """How a plan is printed."""

    as_json: bool
    why: bool
    wide: bool


def _print_plan(spec: SweepSpec, layout: _Layout, host: str, out: str | None) -> None:
    """The trials of the search, and what confirming would cost and decide.

    Args:
        out: the folder of all sweeps; None for a sweep with `--fresh`.
    """
    from orchestrator.preflight.budgets import budgets
    from orchestrator.spec import dry_run

    confirming = _confirming(spec, out) if spec.decide is not None else None
    drawn = budgets(dry_run.configs(spec))
    if layout.as_json:
        later = None if confirming is None else confirming.to_dict()
        B = [each and vars(each) for each in drawn]
        print_json(dry_run.plan(spec) | {"B": B, "host": host, "confirming": later})
        return
    from orchestrator.decision.plan.next_steps import cost_lines

    print_prose(dry_run.head(spec))
    table = dry_run.table(spec)
    if table.rows:
        print()
        print_table(table, wide=layout.wide, ways=("--wide", "--json"))
    print_prose(_cuts([each.text if each else "" for each in drawn]))
    hint = ["--why says what acts in each configuration"]
    print_prose(dry_run.reasons(spec) if layout.why else hint)
    print()
    lines = [] if confirming is None else cost_lines(confirming)
    print_prose(dry_run.rest(spec, host, lines))


def _cuts(texts: Sequence[str]) -> Iterator[str]:
    """Where B is cut: a line for all configurations of which the same is said."""
    for text in dict.fromkeys(filter(None, texts)):
        numbers = [str(number) for number, each in enumerate(texts, 1) if each == text]
        yield f"configuration{'s' * (len(numbers) > 1)} {', '.join(numbers)}: {text}"


def _confirming(spec: SweepSpec, out: str | None) -> Plan:
    """From the sweep's trials if it has run, else from its file."""
    from orchestrator.decision.plan.power_plan import plan
    from orchestrator.ledger import Ledger

    return plan(spec, None if out is None else Ledger(out, spec.name), margins=())
