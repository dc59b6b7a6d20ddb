"""`orch time`: fair minutes of a sweep's configurations."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.terminal import Json, Out, Sweep, console, print_json
from orchestrator.errors import UserError
from orchestrator.signals import handled

if TYPE_CHECKING:
    from orchestrator.fair_timing import Choice
    from orchestrator.ledger import Ledger
    from orchestrator.ledger.timed_rounds import TimedConfig
    from orchestrator.ledger.timing_sessions import Session


def time_trials(
    name: Sweep,
    top: Annotated[
        int, typer.Option(min=1, metavar="K", help="The K best configurations of each method.")
    ] = 1,
    trials: Annotated[
        list[str] | None,
        typer.Option("--trials", metavar="ID", help="This trial's configuration; repeatable."),
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(metavar="WHICH", help="Ratios to this method, configuration or trial alone."),
    ] = "",
    surgery: Annotated[
        bool,
        typer.Option("--surgery", help="Time each with the plain sum too: what surgery costs."),
    ] = False,
    rounds: Annotated[int, typer.Option(min=5, help="Turns of every configuration.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each phase in a turn.")] = 8,
    patience: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Wait so long for quiet before a repetition."),
    ] = 60,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads, instead of the trials'.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="cpu|cuda", help="Instead of the trials'.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="The folder of the sentences, if they moved.")
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Show the newest timings, take none.")
    ] = False,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Time configurations in turn, alone on the device: minutes per epoch and their ratios.

    Without --trials the best complete configuration of each method (sampler, combiner, frozen
    set).  A round during which something else ran on the device is marked and taken again.
    """
    from orchestrator.ledger.listing import find_sweep

    stop = _Interrupt()
    with handled(stop):
        try:
            ledger = find_sweep(name, out)
            if last:
                session = _newest(ledger)
                against = _named(session.configs, baseline)
            else:
                choices = _choices(ledger, top, trials or [], data, threads, device, surgery)
                against = _named(choices, baseline)
                session = _take(ledger, choices, rounds, steps, patience, as_json, stop)
            if as_json:
                print_json(session.to_dict(against))
            else:
                _print(session, against)
        except KeyboardInterrupt:
            print("interrupted; nothing was written", file=sys.stderr)
            raise typer.Exit(130) from None
    if session.problem:
        print(f"no speed-up can be claimed: {session.problem}", file=sys.stderr)
        raise typer.Exit(1)


class _Interrupt:
    """A signal is KeyboardInterrupt; where Python swallows that (in a callback of its own, while
    something is imported or collected), the next round raises it again."""

    def __init__(self) -> None:
        self._seen = False

    def __call__(self, number: int, frame: Any) -> None:
        self._seen = True
        raise KeyboardInterrupt

    def raise_if_seen(self) -> None:
        if self._seen:
            raise KeyboardInterrupt


def _newest(ledger: Ledger) -> Session:
    from orchestrator.ledger.timing_sessions import timings

    found = timings(ledger)
    if not found:
        raise UserError(f"no timings in {ledger.folder.path} yet; take some without --last")
    return found[-1]


def _choices(
    ledger: Ledger, top: int, names: list[str], data: str | None,
    threads: int | None, device: str | None, surgery: bool,
) -> list[Choice]:  # fmt: skip
    """What is to be timed, by the trials' names or the best of each method."""
    from orchestrator.fair_timing import choose, group_of, ready
    from orchestrator.ledger import listing

    trials = ledger.trials()
    if names:
        groups = [group_of(listing.find_trial(ledger, each), trials) for each in names]
    else:
        groups = choose(trials, top)
    if not groups:
        raise UserError(f"no complete trial in {ledger.folder.path}; name others with --trials")
    # The data may have moved: the sweep file's folders are newer than the trials'.
    found = (listing.resolved_spec(ledger).get("base") or {}).get("data") or {}
    where = {key: found[key] for key in ("root", "cache") if isinstance(found.get(key), str)}
    if data is not None:
        where["root"] = os.path.expanduser(data)
    return ready(groups, where, threads=threads, device=device, surgery=surgery)


def _named(configs: Sequence[Choice] | Sequence[TimedConfig], name: str) -> str:
    """The id of the configuration that a method, a configuration's or a trial's id names."""
    if not name:
        return ""
    exact = [each for each in configs if each.label == name]
    begun = [
        each
        for each in configs
        if any(known.startswith(name) for known in (each.config_id, *each.trial_ids))
    ]
    matches = exact or begun
    if len(matches) == 1:
        return matches[0].config_id
    known = ", ".join(f"{each.label} ({each.config_id})" for each in matches or configs)
    which = "names several" if matches else "is none of those that are timed"
    raise UserError(f"--baseline {name}: {which}: {known}")


def _take(
    ledger: Ledger,
    choices: Sequence[Choice],
    rounds: int,
    steps: int,
    patience_s: float,
    quiet: bool,
    stop: _Interrupt,
) -> Session:
    """Time them while no sweep can run in this folder."""
    from orchestrator.fair_timing import time_in_turn
    from orchestrator.ledger.sweep_lock import SweepLock
    from orchestrator.progress import say

    terminal = console(stderr=quiet)

    def tell(text: str) -> None:
        stop.raise_if_seen()
        say(terminal, text)

    try:
        with SweepLock(ledger.folder):
            path, session = time_in_turn(
                ledger, choices, rounds, steps, tell, patience_s=patience_s
            )
    except OSError as error:
        raise UserError(f"{error.filename or ledger.folder.path}: {error.strerror}") from error
    say(terminal, f"written: {path}")
    return session


def _print(session: Session, baseline: str) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("method", overflow="fold")
    table.add_column("configuration", overflow="fold")
    for column in ("examples/epoch", "min/epoch (95 %)"):
        table.add_column(column, justify="right", no_wrap=True)
    parts: list[str] = []
    for each in session.configs:
        found = session.minutes(each.config_id)
        if not parts:
            parts = list(found.parts)
            for part in parts:
                table.add_column(part.replace("_", "+"), justify="right", no_wrap=True)
        whole = sum(found.parts.values())
        table.add_row(
            each.label,
            each.config_id,
            f"{found.examples:,.0f}",
            found.minutes.text(3),
            *(f"{found.parts[part] / whole:.1%}" for part in parts),
        )
    print(
        f"{session.device}, threads: {session.threads}, {len(session.quiet)} quiet of "
        f"{len(session.rounds)} rounds, {session.steps} steps of each phase in a turn"
    )
    console().print(table)
    mark = "no claim: " if session.problem else ""
    names = session.names
    for (one, to), ratio in session.ratios(baseline).items():
        print(f"{mark}{names[one]} takes {ratio.text(3)} times the minutes of {names[to]}")
    for each in session.configs:
        cost = session.surgery_cost(each.config_id)
        if cost is not None:
            print(f"{mark}{names[each.config_id]}: surgery is {cost.text(3)} of its time")
