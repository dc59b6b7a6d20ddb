"""`orch logs`: what the driver of a sweep, or a trial, has written."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import completion
from orchestrator.cli.terminal import Json, Out, Sweep, print_json, say
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger

#: Of a program that Ctrl-C ended.
_INTERRUPTED = 130


def show_logs(
    name: Sweep,
    trial: Annotated[
        str | None,
        typer.Argument(
            metavar="TRIAL",
            help="A trial's id; else the driver's log.",
            autocompletion=completion.trials,
        ),
    ] = None,
    follow: Annotated[
        bool,
        typer.Option(
            "-f", "--follow", help="Print new lines, also of new attempts, until it ends."
        ),
    ] = False,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Print the log of a sweep's driver, or of all attempts of a trial.

    The driver logs its warnings. A trial keeps the newest 200 lines of each attempt.
    """
    from orchestrator.ledger import follow_log
    from orchestrator.ledger.driver_log import DriverLog
    from orchestrator.ledger.listing import find_sweep, find_trial

    if follow and as_json:
        raise UserError("--follow and --json: choose one of them")
    ledger = find_sweep(name, out)
    if trial is None:
        where, read = str(ledger.log_file), DriverLog(ledger.log_file).new_lines
        grows = _driver_works(ledger)
    else:
        trial_id = find_trial(ledger, trial).trial_id
        directory = ledger.directory(trial_id)
        where, read = f"{directory.path}/logs", follow_log.trial_lines(directory)
        grows = _trial_goes_on(ledger, trial_id)
    if as_json:
        print_json({"sweep": ledger.name, "trial": trial, "log": where, "lines": list(read())})
        return
    count = 0
    try:
        for line in follow_log.follow(read, grows if follow else lambda: False):
            print(line, flush=follow)
            count += 1
    except KeyboardInterrupt:
        raise typer.Exit(_INTERRUPTED) from None
    if follow:
        say(f"{where}: nothing writes to it any more")
    elif not count:
        say(f"{where}: nothing was written to it")


def _driver_works(ledger: Ledger) -> Callable[[], bool]:
    from orchestrator.ledger.driver_status import read_status

    return lambda: read_status(ledger) is not None


def _trial_goes_on(ledger: Ledger, trial_id: str) -> Callable[[], bool]:
    works = _driver_works(ledger)
    return lambda: ledger.end(trial_id) is None and works()
