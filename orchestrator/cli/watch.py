"""`orch watch` and `orch stop`: a sweep that another process runs."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.terminal import (
    Json,
    Out,
    Sweep,
    console,
    print_json,
    print_prose,
    prose_width,
    say,
)
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger
    from orchestrator.ledger.driver_status import DriverStatus

#: Seconds between two looks at a sweep.
_EVERY_S = 1.0
#: A driver that has not answered a request to stop for so many seconds is taken to hang.
_SILENT_S = 60.0
#: Of a program that Ctrl-C ended.
_INTERRUPTED = 130


class Silent(UserError):
    """The driver does not answer."""

    exit_code = 1


def watch_sweep(name: Sweep, out: Out = "sweeps", as_json: Json = False) -> None:
    """Show what a running sweep does, until it ends. Ctrl-C leaves the sweep alone.

    Off a terminal it prints a line for each change; with --json the present status, once.
    """
    from orchestrator.ledger import listing
    from orchestrator.ledger.driver_status import read_status

    ledger = listing.find_sweep(name, out)
    status = read_status(ledger)
    if as_json:
        print_json(None if status is None else status.to_dict())
        return
    if status is None:
        print(f"{ledger.name}: no driver runs it now; this is how it stands:")
    else:
        place = f"{ledger.folder.path}, by process {status.pid} on {status.host}"
        print(f"{place}, since {status.started}", flush=True)
        try:
            _follow(ledger, status)
        except KeyboardInterrupt:
            say(f"{ledger.name} goes on")
            raise typer.Exit(_INTERRUPTED) from None
        print(f"{ledger.name} has ended:")
    _print_end(ledger)


def _follow(ledger: Ledger, status: DriverStatus) -> None:
    """Show the sweep until its driver is gone."""
    from orchestrator.progress.live import LiveView
    from orchestrator.progress.view import head

    latest = [status]
    terminal = console()
    if terminal.is_terminal:
        view = LiveView(terminal, lambda: _now(latest[-1]))
        view.start()
        try:
            for _ in _statuses(ledger, latest):
                pass  # the view reads `latest`
        finally:
            view.close()
        return
    shown = None
    for each in itertools.chain([status], _statuses(ledger, latest)):
        present = (each.stage, each.look, each.done, each.running, each.failed, each.stopping)
        if present != shown:
            print(" ".join(line.plain for line in head(each, 10_000)), flush=True)
        shown = present


def _statuses(ledger: Ledger, latest: list[DriverStatus]) -> Iterator[DriverStatus]:
    """What the driver tells from now on; `latest` keeps the last one."""
    from orchestrator.ledger.driver_status import read_status

    while True:
        time.sleep(_EVERY_S)
        status = read_status(ledger)
        if status is None or (status.pid, status.started) != (latest[-1].pid, latest[-1].started):
            return
        latest[:] = [status]
        yield status


def _now(status: DriverStatus) -> DriverStatus:
    """The status with its clock moved on from the driver's last word."""
    since = min(60.0, max(0.0, time.time() - status.heartbeat)) if status.heartbeat else 0.0
    return replace(status, elapsed=status.elapsed + since)


def stop_sweep(
    name: Sweep,
    now: Annotated[
        bool, typer.Option("--now", help="Commit nothing more, as a second Ctrl-C does.")
    ] = False,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Stop a running sweep as Ctrl-C in its terminal does, also on another host, and wait.

    Running trials commit the epoch they are in. The sweep's own command resumes it.
    """
    from orchestrator.ledger import listing
    from orchestrator.ledger.driver_status import read_status
    from orchestrator.ledger.stop_request import request_stop

    ledger = listing.find_sweep(name, out)
    status = read_status(ledger)
    if status is not None:
        request_stop(ledger.folder, status, now=now)
        say(f"{ledger.name}: asked process {status.pid} on {status.host} to stop")
        try:
            _wait(ledger, status)
        except KeyboardInterrupt:
            say(f"{ledger.name} has been asked to stop; nobody waits for it any more")
            raise typer.Exit(_INTERRUPTED) from None
    counts = _counts(ledger)
    if as_json:
        print_json({"name": ledger.name, "was_running": status is not None, "trials": counts})
        return
    what = "nothing runs" if status is None else "stopped"
    print_prose([f"{ledger.name}: {what}; {_in_words(counts)}"])


def _wait(ledger: Ledger, driver: DriverStatus) -> None:
    """Wait until the driver is gone, and pass on what it says.  Raises `Silent`."""
    said, begun = "", time.monotonic()
    for status in _statuses(ledger, [driver]):
        if status.stopping and status.stopping != said:
            say(status.stopping)
            said = status.stopping
        if not said and time.monotonic() - begun > _SILENT_S:
            raise Silent(
                f"{ledger.name}: process {driver.pid} on {driver.host} has not answered for "
                f"{_SILENT_S:g} s; end it there: kill {driver.pid}"
            )


def _counts(ledger: Ledger) -> dict[str, int]:
    from orchestrator.ledger import listing
    from orchestrator.ledger.driver_status import Live

    counts: dict[str, int] = listing.sweep_summary(ledger, Live.of(ledger))["trials"]
    return counts


def _in_words(counts: dict[str, Any]) -> str:
    trials = ", ".join(f"{count} {status}" for status, count in counts.items()) or "no"
    return f"{trials} trials"


def _print_end(ledger: Ledger) -> None:
    """The trials in numbers, and the answer."""
    from orchestrator.cli.terminal import Patience

    print(_in_words(_counts(ledger)))
    with Patience("comparing the trials"):
        from orchestrator.compare.compare_sweep import compare_sweep, trials_of
        from orchestrator.compare.options import ComparisonOptions
        from orchestrator.decision.answer.answers import answer_of
        from orchestrator.decision.answer.block import block

        compared = compare_sweep(ledger, trials_of(ledger), ComparisonOptions())
        text = block(answer_of(ledger, compared), prose_width())
    print(f"\n{text}", flush=True)
