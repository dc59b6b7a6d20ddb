"""`orch ls`, `orch show` and `orch sync`: existing sweeps."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from orchestrator.cli import completion
from orchestrator.cli.streams import outlive_readers
from orchestrator.cli.terminal import (
    Json,
    Out,
    Sweep,
    Wide,
    print_json,
    print_prose,
    print_table,
    say,
    terminal_width,
)


def list_sweeps(out: Out = "sweeps", wide: Wide = False, as_json: Json = False) -> None:
    """List the sweeps of a folder."""
    from orchestrator.cli import tables
    from orchestrator.ledger import listing

    ledgers = [listing.find_sweep(name, out) for name in listing.sweep_names(out)]
    summaries = [listing.sweep_row(ledger) for ledger in ledgers]
    if as_json:
        print_json(summaries)
    elif summaries:
        print_table(tables.sweeps_table(summaries), wide=wide)
    else:
        print(f"no sweep in {out}")


def show(
    name: Sweep,
    trial: Annotated[
        str | None,
        typer.Argument(metavar="TRIAL", help="A trial's id.", autocompletion=completion.trials),
    ] = None,
    out: Out = "sweeps",
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Show a sweep's trials, or one trial's config, epochs and the end of its log."""
    from orchestrator.cli import tables
    from orchestrator.ledger import listing
    from orchestrator.ledger.driver_status import Live, live_trial, read_status
    from orchestrator.ledger.trial_log import last_log
    from trainer.data import left_out
    from trainer.metrics import FIRST_CLOCK_NOTE

    ledger, ways = listing.find_sweep(name, out), ("--wide", "--json")
    if trial is None:
        live = Live.of(ledger)
        summary, rows = listing.sweep_summary(ledger, live), listing.trial_summaries(live.reading)
        if as_json:
            print_json({**summary, "trials": rows, "spec": listing.resolved_spec(ledger)})
            return
        print_prose([f"{summary['name']}: {summary['question']}", summary["folder"]])
        print_table(tables.trials_table(rows), wide=wide, ways=ways)
        if any(row["first_clock"] for row in rows):
            print_prose([FIRST_CLOCK_NOTE])
        return
    record = live_trial(listing.find_trial(ledger, trial), read_status(ledger))
    log = last_log(ledger.directory(record.trial_id))
    if as_json:
        print_json({**listing.trial_details(record), "log": log})
        return
    reason = f" ({record.reason})" if record.reason else ""
    print_prose([f"{record.trial_id}: {record.status}{reason}", record.path])
    whole = wide or terminal_width() is None
    config = record.config if whole else tables.unusual(record.config)
    print_prose(
        [f"config{'' if whole else ' besides defaults'}: " + json.dumps(config, sort_keys=True)]
    )
    print_prose(left_out.lines(left_out.of_rows(record.identity.get("rows"))))
    print_table(tables.epochs_table(record), wide=wide, ways=ways)
    if listing.trial_summary(record)["first_clock"]:
        print_prose([FIRST_CLOCK_NOTE])
    if record.records:
        print_prose([tables.counted_line(record)])
        print_prose([f"every number of epoch {record.records[-1]['epoch']}:"])
        print_table(tables.numbers_table(record), wide=wide, ways=ways)
    print_prose(tables.evaluation_lines(record))
    if log and record.status != "complete":
        print(tables.log_tail(log))


def sync(name: Sweep, out: Out = "sweeps", as_json: Json = False) -> None:
    """Rebuild what MLflow and Optuna show of a sweep from its trial directories."""
    from orchestrator.ledger import listing
    from orchestrator.ledger.sweep_lock import SweepLock
    from orchestrator.tracking import projections

    ledger = listing.find_sweep(name, out)
    outlive_readers()
    with SweepLock(ledger.folder):  # a running sweep does this itself
        count, names = projections.sync(ledger, listing.resolved_spec(ledger), say)
    if as_json:
        print_json({"name": ledger.name, "trials": count, "pictures": names})
    else:
        print(f"{ledger.name}: {count} trials in " + " and ".join(names))
