"""`orch ls`, `orch show` and `orch sync`: the sweeps that are there."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestrator.cli.terminal import Json, Out, Sweep, console, print_json, say


def list_sweeps(out: Out = "sweeps", as_json: Json = False) -> None:
    """List the sweeps of a folder."""
    from orchestrator.cli import tables
    from orchestrator.ledger import listing

    ledgers = [listing.find_sweep(name, out) for name in listing.sweep_names(out)]
    found = [listing.sweep_summary(ledger, ledger.read()) for ledger in ledgers]
    if as_json:
        print_json(found)
    elif found:
        console().print(tables.sweeps_table(found))
    else:
        print(f"no sweep in {out}")


def show(
    name: Sweep,
    trial: Annotated[str | None, typer.Argument(metavar="[TRIAL]", help="A trial's id.")] = None,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Show a sweep's trials, or one trial's config, epochs and the end of its log."""
    from orchestrator.cli import tables
    from orchestrator.ledger import listing
    from orchestrator.ledger.trial_log import last_log

    ledger = listing.find_sweep(name, out)
    if trial is None:
        reading = ledger.read()
        summary, rows = listing.sweep_summary(ledger, reading), listing.trial_summaries(reading)
        if as_json:
            print_json({**summary, "trials": rows, "spec": listing.resolved_spec(ledger)})
            return
        print(f"{summary['name']}: {summary['question']}\n{summary['folder']}")
        console().print(tables.trials_table(rows))
        return
    found = listing.find_trial(ledger, trial)
    log = last_log(ledger.directory(found.trial_id))
    if as_json:
        print_json({**listing.trial_details(found), "log": log})
        return
    print(f"{found.trial_id}: {found.status}" + (f" ({found.reason})" if found.reason else ""))
    print(found.path)
    print("config: " + json.dumps(found.config, sort_keys=True))
    console().print(tables.epochs_table(found))
    if found.records:
        print(f"every number of epoch {found.records[-1]['epoch']}:")
        console().print(tables.numbers_table(found))
    if log and found.status != "complete":
        print(tables.log_tail(log))


def sync(name: Sweep, out: Out = "sweeps", as_json: Json = False) -> None:
    """Bring MLflow's and Optuna's pictures of a sweep up to date with its trial directories."""
    from orchestrator.ledger import listing
    from orchestrator.ledger.sweep_lock import SweepLock
    from orchestrator.tracking import projections

    ledger = listing.find_sweep(name, out)
    with SweepLock(ledger.folder):  # a running sweep does this itself
        count, drawn = projections.sync(ledger, listing.resolved_spec(ledger), say)
    if as_json:
        print_json({"name": ledger.name, "trials": count, "pictures": drawn})
    else:
        print(f"{ledger.name}: {count} trials in " + " and ".join(drawn))
