"""`orch ls`, `orch show` and `orch sync`: existing sweeps."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestrator.cli.terminal import Json, Out, Sweep, console, print_json, say


def list_sweeps(out: Out = "sweeps", as_json: Json = False) -> None:
    """List the sweeps of a folder."""
    from orchestrator.cli import tables
    from orchestrator.ledger import listing
    from orchestrator.ledger.driver_status import Live

    ledgers = [listing.find_sweep(name, out) for name in listing.sweep_names(out)]
    summaries = [listing.sweep_summary(ledger, Live.of(ledger)) for ledger in ledgers]
    if as_json:
        print_json(summaries)
    elif summaries:
        console().print(tables.sweeps_table(summaries))
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
    from orchestrator.ledger import listing, printable
    from orchestrator.ledger.driver_status import Live, live_trial, read_status
    from orchestrator.ledger.trial_log import last_log
    from trainer.data import left_out
    from trainer.metrics import FIRST_CLOCK_NOTE

    ledger = listing.find_sweep(name, out)
    if trial is None:
        live = Live.of(ledger)
        summary, rows = listing.sweep_summary(ledger, live), listing.trial_summaries(live.reading)
        if as_json:
            print_json({**summary, "trials": rows, "spec": listing.resolved_spec(ledger)})
            return
        print(f"{summary['name']}: {summary['question']}\n{summary['folder']}")
        console().print(tables.trials_table(rows))
        if any(row["first_clock"] for row in rows):
            print(FIRST_CLOCK_NOTE)
        return
    record = live_trial(listing.find_trial(ledger, trial), read_status(ledger))
    log = last_log(ledger.directory(record.trial_id))
    if as_json:
        print_json({**listing.trial_details(record), "log": log})
        return
    print(f"{record.trial_id}: {record.status}" + (f" ({record.reason})" if record.reason else ""))
    print(record.path)
    print("config: " + json.dumps(record.config, sort_keys=True))
    for line in left_out.lines(left_out.of_rows(record.identity.get("rows"))):
        print(printable(line))
    console().print(tables.epochs_table(record))
    if listing.trial_summary(record)["first_clock"]:
        print(FIRST_CLOCK_NOTE)
    if record.records:
        print(tables.counted_line(record))
        print(f"every number of epoch {record.records[-1]['epoch']}:")
        console().print(tables.numbers_table(record))
    for line in tables.evaluation_lines(record):
        print(line)
    if log and record.status != "complete":
        print(tables.log_tail(log))


def sync(name: Sweep, out: Out = "sweeps", as_json: Json = False) -> None:
    """Rebuild what MLflow and Optuna show of a sweep from its trial directories."""
    from orchestrator.ledger import listing
    from orchestrator.ledger.sweep_lock import SweepLock
    from orchestrator.tracking import projections

    ledger = listing.find_sweep(name, out)
    with SweepLock(ledger.folder):  # a running sweep does this itself
        count, names = projections.sync(ledger, listing.resolved_spec(ledger), say)
    if as_json:
        print_json({"name": ledger.name, "trials": count, "pictures": names})
    else:
        print(f"{ledger.name}: {count} trials in " + " and ".join(names))
