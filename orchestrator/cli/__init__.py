"""The command `orch`: parse, call, print.

Exit codes: 0 all done, 1 some trials failed, 2 the input is wrong (nothing was started), 130
interrupted and resumable.  What is slow to import is imported by the commands that need it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestrator.cli.compare import EXAMPLE as COMPARE_EXAMPLE
from orchestrator.cli.compare import compare_trials, print_comparison, print_published
from orchestrator.cli.data import data_app
from orchestrator.cli.doctor import EXAMPLE as DOCTOR_EXAMPLE
from orchestrator.cli.doctor import examine_machine
from orchestrator.cli.pack import EXAMPLE as PACK_EXAMPLE
from orchestrator.cli.pack import pack_sweep
from orchestrator.cli.report import EXAMPLE as REPORT_EXAMPLE
from orchestrator.cli.report import report_sweep
from orchestrator.cli.submit import EXAMPLE as SUBMIT_EXAMPLE
from orchestrator.cli.submit import submit_sweep
from orchestrator.cli.terminal import (
    File,
    Insecure,
    Json,
    Out,
    Overrides,
    Profile,
    Sweep,
    UserError,
    console,
    print_json,
)
from orchestrator.cli.time import EXAMPLE as TIME_EXAMPLE
from orchestrator.cli.time import time_trials
from orchestrator.cli.ui import EXAMPLE as UI_EXAMPLE
from orchestrator.cli.ui import show_pages

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="Sweeps that compare ways of training one model on several tasks.",
)
app.add_typer(data_app, name="data")


def main() -> NoReturn:
    """Run the command; a user's mistake is its message on stderr and exit code 2."""
    from orchestrator.spec.layers import SpecError
    from trainer.storage.folder import StoreError

    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    try:
        app()
    except (UserError, SpecError, StoreError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `orch ls | head`: nobody reads on, and the exit must not write either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"{where}{error.strerror or error}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


@app.command(epilog="Example: orch sweep search_spaces/arrp.yaml --profile embedded")
def sweep(
    file: File,
    profile: Profile = None,
    overrides: Overrides = None,
    out: Out = "sweeps",
    address: Annotated[
        str | None, typer.Option(metavar="A", help="Join this Ray cluster instead of starting one.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the trials, start none.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Set an earlier sweep of this name aside, begin anew.")
    ] = False,
    insecure: Insecure = False,
    probe: Annotated[
        bool, typer.Option("--probe", help="Measure first how many trials fit this machine.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train every trial of a sweep that is not finished yet; run it again after anything."""
    spec = _load(file, profile, overrides)
    if dry_run:
        host = "" if address is not None else _on_this_host(spec, None if fresh else out)
        _print_plan(_probed(spec, address) if probe else spec, as_json, host)
        return
    from orchestrator.compare import compare
    from orchestrator.ledger import Ledger
    from orchestrator.ledger.current import current
    from orchestrator.sweep import SweepError, run_sweep
    from trainer.storage.folder import StoreError

    try:
        outcome = run_sweep(
            spec,
            out,
            address=address,
            console=console(stderr=as_json),
            fresh=fresh,
            insecure=insecure,
            probe=probe,
        )
    except SweepError as error:
        raise UserError(str(error)) from error
    if outcome.interrupted:  # it is leaving already; what comes now must not change how
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    ledger = Ledger(out, spec.name)
    try:
        trials = current(spec.to_dict(), ledger.trials())
    except StoreError:
        if not outcome.error:
            raise
        trials = []  # the store was lost, and that is said below
    comparison = compare(trials)
    if as_json:
        print_json(
            {
                "name": spec.name,
                "trials": outcome.trials,
                "failed": outcome.failed,
                "interrupted": outcome.interrupted,
                "error": outcome.error,
                "comparison": comparison.to_dict(),
            }
        )
    else:
        print_comparison(comparison)
        if spec.published is not None and comparison.rows:
            print()
            print_published(ledger, trials, comparison, as_json=False)
    for trial, reason in outcome.failed.items():
        print(f"failed: {trial}: {reason}", file=sys.stderr)
    if outcome.error:
        print(f"failed: {outcome.error}", file=sys.stderr)
    if outcome.interrupted:
        print("interrupted; run the same command again to go on", file=sys.stderr)
    raise typer.Exit(outcome.exit_code)


@app.command(epilog="Example: orch validate search_spaces/arrp.yaml")
def validate(
    file: File, profile: Profile = None, overrides: Overrides = None, as_json: Json = False
) -> None:
    """Check a sweep file, and each of its profiles if none is named; report every mistake."""
    from orchestrator.spec import SpecError, dry_run, load_spec, profile_names

    chosen = [profile] if profile else [None, *profile_names(file)]
    valid: list[SweepSpec] = []
    problems = []
    for name in chosen:
        try:
            valid.append(load_spec(file, name, overrides or ()))
        except SpecError as error:
            problems += [p for p in error.problems if p not in problems]
    if as_json:
        print_json({"valid": not problems, "problems": [vars(problem) for problem in problems]})
        raise typer.Exit(2 if problems else 0)
    if problems:
        raise SpecError(problems)
    for spec in valid:
        print(f"{file}: valid: {spec.name}: {dry_run.size(spec)}")


@app.command(epilog="Example: orch schema > search_spaces/schema.json")
def schema() -> None:
    """Print the JSON Schema of the sweep file, for editor completion."""
    from orchestrator.spec.json_schema import sweep_schema

    print_json(sweep_schema())


@app.command("ls", epilog="Example: orch ls --json")
def list_sweeps(out: Out = "sweeps", as_json: Json = False) -> None:
    """List the sweeps of a folder."""
    from orchestrator.ledger import listing

    ledgers = [listing.find_sweep(name, out) for name in listing.sweep_names(out)]
    found = [listing.sweep_summary(ledger, ledger.read()) for ledger in ledgers]
    if as_json:
        print_json(found)
    elif found:
        console().print(listing.sweeps_table(found))
    else:
        print(f"no sweep in {out}")


@app.command(epilog="Example: orch show arrp-embedded arrp-3f9a1c20b7d4")
def show(
    name: Sweep,
    trial: Annotated[str | None, typer.Argument(metavar="[TRIAL]", help="A trial's id.")] = None,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Show a sweep's trials, or one trial's config, epochs and the end of its log."""
    from orchestrator.ledger import listing
    from orchestrator.ledger.trial_log import last_log

    ledger = _find(name, out)
    if trial is None:
        reading = ledger.read()
        summary, rows = listing.sweep_summary(ledger, reading), listing.trial_summaries(reading)
        if as_json:
            print_json({**summary, "trials": rows, "spec": listing.resolved_spec(ledger)})
            return
        print(f"{summary['name']}: {summary['question']}\n{summary['folder']}")
        console().print(listing.trials_table(rows))
        return
    try:
        found = listing.find_trial(ledger, trial)
    except listing.NotFound as error:
        raise UserError(str(error)) from error
    log = last_log(ledger.directory(found.trial_id))
    if as_json:
        print_json({**listing.trial_details(found), "log": log})
        return
    print(f"{found.trial_id}: {found.status}" + (f" ({found.reason})" if found.reason else ""))
    print(found.path)
    print("config: " + json.dumps(found.config, sort_keys=True))
    console().print(listing.epochs_table(found))
    if log and found.status != "complete":
        print(listing.log_tail(log))


app.command("compare", epilog=COMPARE_EXAMPLE)(compare_trials)
app.command("report", epilog=REPORT_EXAMPLE)(report_sweep)
app.command("pack", epilog=PACK_EXAMPLE)(pack_sweep)
app.command("time", epilog=TIME_EXAMPLE)(time_trials)


@app.command(epilog="Example: orch sync arrp-embedded")
def sync(name: Sweep, out: Out = "sweeps", as_json: Json = False) -> None:
    """Bring MLflow's and Optuna's pictures of a sweep up to date with its trial directories."""
    from orchestrator.ledger import listing
    from orchestrator.ledger.sweep_lock import Locked, SweepLock
    from orchestrator.tracking import projections

    ledger = _find(name, out)
    try:
        with SweepLock(ledger.folder):  # a running sweep does this itself
            count, drawn = projections.sync(ledger, listing.resolved_spec(ledger), _say)
    except (Locked, projections.Unreachable) as error:
        raise UserError(str(error)) from error
    if as_json:
        print_json({"name": ledger.name, "trials": count, "pictures": drawn})
    else:
        print(f"{ledger.name}: {count} trials in " + " and ".join(drawn))


app.command("ui", epilog=UI_EXAMPLE)(show_pages)
app.command("doctor", epilog=DOCTOR_EXAMPLE)(examine_machine)
app.command("submit", epilog=SUBMIT_EXAMPLE)(submit_sweep)


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _load(file: str, profile: str | None, overrides: list[str] | None) -> SweepSpec:
    from orchestrator.spec import load_spec

    return load_spec(file, profile, overrides or ())


def _probed(spec: SweepSpec, address: str | None) -> SweepSpec:
    from orchestrator.errors import SweepError
    from orchestrator.preflight.memory_probe import probed

    try:
        return probed(spec, _say, address)
    except SweepError as error:
        raise UserError(str(error)) from error


def _find(name: str, out: str) -> Any:
    from orchestrator.ledger import listing

    try:
        return listing.find_sweep(name, out)
    except listing.NotFound as error:
        raise UserError(str(error)) from error


def _on_this_host(spec: SweepSpec, out: str | None) -> str:
    """Precision and device of the sweep's trials here, or why they are refused."""
    from orchestrator.preflight.precision import preview, this_machine
    from trainer.loop.device import PrecisionError

    try:
        return preview(spec, out, [this_machine(spec)])
    except PrecisionError as problem:
        return f"not here: {problem}"


def _print_plan(spec: SweepSpec, as_json: bool, host: str) -> None:
    from orchestrator.spec import dry_run

    if as_json:
        print_json(dry_run.plan(spec) | {"host": host})
    else:
        print("\n".join(dry_run.lines(spec, host)))
