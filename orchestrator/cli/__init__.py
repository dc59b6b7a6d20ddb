"""The command `orch`: parse, call, print.

Exit codes: 0 all done, 1 some trials failed, 2 the input is wrong (nothing was started), 130
interrupted and resumable.  What is slow to import is imported by the commands that need it.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from orchestrator.cli.data import data_app
from orchestrator.cli.terminal import (
    File,
    Json,
    Out,
    Overrides,
    Profile,
    Sweep,
    UserError,
    console,
    print_json,
)

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
    from orchestrator.spec_layers import SpecError

    try:
        app()
    except (UserError, SpecError) as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:  # `orch ls | head`: nobody reads on, and the exit must not write either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
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
    as_json: Json = False,
) -> None:
    """Train every trial of a sweep that is not finished yet; run it again after anything."""
    spec = _load(file, profile, overrides)
    if dry_run:
        _print_plan(spec, as_json)
        return
    from orchestrator.compare import compare
    from orchestrator.ledger import Ledger
    from orchestrator.sweep import SweepError, run_sweep

    try:
        outcome = run_sweep(spec, out, address=address, console=console(stderr=as_json))
    except SweepError as error:
        raise UserError(str(error)) from error
    comparison = compare(Ledger(out, spec.name).trials())
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
        _print_comparison(comparison)
        if spec.published is not None and comparison.rows:
            print()
            _print_published(Ledger(out, spec.name), comparison, as_json=False)
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
    from orchestrator import plan
    from orchestrator.spec import SpecError, load_spec, profile_names

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
        print(f"{file}: valid: {spec.name}: {plan.size(spec)}")


@app.command(epilog="Example: orch schema > search_spaces/schema.json")
def schema() -> None:
    """Print the JSON Schema of the sweep file, for editor completion."""
    from orchestrator.schema import sweep_schema

    print_json(sweep_schema())


@app.command("ls", epilog="Example: orch ls --json")
def list_sweeps(out: Out = "sweeps", as_json: Json = False) -> None:
    """List the sweeps of a folder."""
    from orchestrator import views

    found = [views.sweep_summary(views.find_sweep(name, out)) for name in views.sweep_names(out)]
    if as_json:
        print_json(found)
    elif found:
        console().print(views.sweeps_table(found))
    else:
        print(f"no sweep in {out}")


@app.command(epilog="Example: orch show arrp-embedded arrp-3f9a1c20b7d4")
def show(
    name: Sweep,
    trial: Annotated[str | None, typer.Argument(metavar="[TRIAL]", help="A trial's id.")] = None,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Show a sweep's trials, or one trial's config and epochs."""
    from orchestrator import views

    ledger = _find(name, out)
    if trial is None:
        summary = views.sweep_summary(ledger)
        rows = [views.trial_summary(each) for each in ledger.trials()]
        if as_json:
            print_json({**summary, "trials": rows, "spec": views.resolved_spec(ledger)})
            return
        print(f"{summary['name']}: {summary['question']}\n{summary['folder']}")
        console().print(views.trials_table(rows))
        return
    try:
        found = views.find_trial(ledger, trial)
    except views.NotFound as error:
        raise UserError(str(error)) from error
    if as_json:
        print_json(views.trial_details(found))
        return
    print(f"{found.trial_id}: {found.status}" + (f" ({found.reason})" if found.reason else ""))
    print(found.path)
    print("config: " + json.dumps(found.config, sort_keys=True))
    console().print(views.epochs_table(found))


@app.command(epilog="Example: orch compare arrp-embedded")
def compare(
    name: Sweep,
    out: Out = "sweeps",
    published: Annotated[
        bool, typer.Option("--published", help="Our figures beside the paper's.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Rank configurations by dev_score; the first line answers ARRP against annealed PCGrad."""
    from orchestrator.compare import compare as compare_trials

    ledger = _find(name, out)
    comparison = compare_trials(ledger.trials())
    if published:
        _print_published(ledger, comparison, as_json)
    elif as_json:
        print_json(comparison.to_dict())
    else:
        _print_comparison(comparison)


@app.command(epilog="Example: orch sync arrp-embedded")
def sync(name: Sweep, out: Out = "sweeps", as_json: Json = False) -> None:
    """Bring MLflow's picture of a sweep up to date with its trial directories."""
    from orchestrator import tracking, views
    from orchestrator.lock import Locked, SweepLock

    ledger = _find(name, out)
    question = views.resolved_spec(ledger).get("question", "")
    uri = _tracking_uri(name, out)
    picture = tracking.SweepPicture(ledger.folder.name, question)
    try:
        with SweepLock(ledger.folder / "lock"):  # a running sweep does this itself
            count = tracking.sync(uri, ledger.folder.parent, picture)
    except Locked as error:
        raise UserError(str(error)) from error
    except Exception as error:  # whatever MLflow or its database raises: one line for the user
        first = str(error).strip().partition("\n")[0]
        raise UserError(f"{uri}: does not answer: {first}") from error
    if as_json:
        print_json({"name": ledger.folder.name, "uri": uri, "trials": count})
    else:
        print(f"{ledger.folder.name}: {count} trials in {uri}")


@app.command(epilog="Example: orch ui arrp-embedded --port 5001")
def ui(
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="A sweep; its tracking is shown.")
    ] = None,
    out: Out = "sweeps",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port on 127.0.0.1.")] = 5000,
) -> None:
    """Start MLflow's page on the database that the sweeps are tracked in; Ctrl-C ends it."""
    uri = _tracking_uri(name, out)
    if uri.startswith(("http://", "https://")):
        print(f"MLflow runs at {uri}")
        return
    if uri.startswith("sqlite:///") and not os.path.exists(uri.removeprefix("sqlite:///")):
        raise UserError(f"{uri}: no such database yet; run a sweep, or orch sync NAME")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise UserError(f"port {port} is not free ({error.strerror}); try --port") from error
    print(f"MLflow on http://127.0.0.1:{port}, reading {uri}", flush=True)
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    os.execve(sys.executable, command, {**os.environ, **quiet})


def _load(file: str, profile: str | None, overrides: list[str] | None) -> SweepSpec:
    from orchestrator.spec import load_spec

    return load_spec(file, profile, overrides or ())


def _find(name: str, out: str) -> Any:
    from orchestrator import views

    try:
        return views.find_sweep(name, out)
    except views.NotFound as error:
        raise UserError(str(error)) from error


def _tracking_uri(name: str | None, out: str) -> str:
    """The database of a sweep, or the default one of the folder."""
    from orchestrator import views
    from orchestrator.spec import TrackingSpec
    from orchestrator.tracking import resolve_uri

    uri = TrackingSpec().uri
    if name is None:
        return resolve_uri(uri, out)
    ledger = _find(name, out)
    tracking = views.resolved_spec(ledger).get("tracking") or {}
    return resolve_uri(str(tracking.get("uri", uri)), ledger.folder.parent)


def _print_plan(spec: SweepSpec, as_json: bool) -> None:
    from orchestrator import plan

    if as_json:
        print_json(plan.plan(spec))
    else:
        print("\n".join(plan.lines(spec)))


def _print_comparison(comparison: Any) -> None:
    from orchestrator.compare import footnotes, table

    print(comparison.answer)
    if comparison.rows:
        console().print(table(comparison))
    print("\n".join(footnotes(comparison)), flush=True)


def _print_published(ledger: Any, comparison: Any, as_json: bool) -> None:
    from orchestrator import published

    try:
        rows, source = published.side_by_side(ledger, comparison)
    except published.NotPublished as error:
        raise UserError(str(error)) from error
    if as_json:
        print_json({"source": source, "rows": rows})
        return
    print(f"{source} beside our means over seeds")
    console().print(published.table(rows))
