"""`orch time`: measure fair minutes of a sweep's configurations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.streams import outlive_readers
from orchestrator.cli.terminal import (
    Json,
    Out,
    Sweep,
    Wide,
    complain,
    print_json,
    print_prose,
    print_table,
    progress_console,
)
from orchestrator.errors import UserError
from orchestrator.signals import handled
from trainer.config import did_you_mean

if TYPE_CHECKING:
    from orchestrator.fair_timing import Choice
    from orchestrator.ledger import Ledger
    from orchestrator.ledger.timed_rounds import TimedConfig
    from orchestrator.ledger.timing_sessions import Session


def time_trials(
    name: Sweep,
    top: Annotated[
        int, typer.Option(min=1, metavar="K", help="Time the K best configurations of each method.")
    ] = 1,
    trials: Annotated[
        list[str] | None,
        typer.Option("--trials", metavar="ID", help="Time this trial's configuration; repeatable."),
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            metavar="WHICH", help="Print only ratios to this method, configuration or trial."
        ),
    ] = "",
    surgery: Annotated[
        bool,
        typer.Option(
            "--surgery", help="Also time each with the plain sum, to see what surgery costs."
        ),
    ] = False,
    rounds: Annotated[int, typer.Option(min=5, help="Turns of every configuration.")] = 10,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each phase per turn.")] = 8,
    patience: Annotated[
        float,
        typer.Option(
            min=0, metavar="SECONDS", help="Longest wait for a quiet device before repeating."
        ),
    ] = 60,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads, instead of the trials' number.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="cpu|cuda", help="Device, instead of the trials' device.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(metavar="DIR", help="The folder of the data, if they moved.")
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Show the newest timings without measuring.")
    ] = False,
    out: Out = "sweeps",
    wide: Wide = False,
    as_json: Json = False,
) -> None:
    """Time configurations in turn, alone on the device: minutes per epoch and their ratios.

    Without --trials it times the best complete configuration of each method (sampler, combiner,
    frozen set). If something else ran on the device during a round, it is marked and repeated.
    """
    from orchestrator.ledger.listing import find_sweep

    outlive_readers()
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
                session = _take(ledger, choices, (rounds, steps, patience), as_json, stop)
            if as_json:
                print_json(session.to_dict(against))
            else:
                _print(session, against, wide)
        except KeyboardInterrupt:
            complain("interrupted; nothing was written")
            raise typer.Exit(130) from None
    if session.problem:
        complain(f"no speed-up can be claimed: {session.problem}")
        raise typer.Exit(1)


class _Interrupt:
    """A signal handler that raises KeyboardInterrupt.

    Python swallows it in some of its callbacks, during an import or a garbage collection. The next
    round then raises it again.
    """

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

    sessions = timings(ledger)
    if not sessions:
        raise UserError(f"no timings in {ledger.folder.path} yet; measure some without --last")
    return sessions[-1]


def _choices(
    ledger: Ledger, top: int, names: list[str], data: str | None,
    threads: int | None, device: str | None, surgery: bool,
) -> list[Choice]:  # fmt: skip
    """The configurations to time: those of the named trials, or the best of each method."""
    from orchestrator.fair_timing import choose, group_of, ready
    from orchestrator.ledger import listing

    trials = ledger.trials()
    if names:
        groups = [group_of(listing.find_trial(ledger, each), trials) for each in names]
    else:
        groups = choose(trials, top)
    if not groups:
        raise UserError(f"no complete trial in {ledger.folder.path}; name others with --trials")
    where = listing.data_folders(ledger, data)
    return ready(groups, where, threads=threads, device=device, surgery=surgery)


def _named(configs: Sequence[Choice] | Sequence[TimedConfig], name: str) -> str:
    """The id of the configuration with this method, config id or trial id."""
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
    hint = (
        "" if matches else did_you_mean(name, [n for c in configs for n in (c.label, c.config_id)])
    )
    reason = "fits several" if matches else "not among the timed configurations"
    raise UserError(f"--baseline {name}: {reason}{hint}: {known}")


def _take(
    ledger: Ledger,
    choices: Sequence[Choice],
    effort: tuple[int, int, float],
    as_json: bool,
    stop: _Interrupt,
) -> Session:
    """Time the configurations while no sweep can run in this folder."""
    from orchestrator.fair_timing import Effort, time_in_turn
    from orchestrator.ledger.sweep_lock import SweepLock
    from orchestrator.progress import say

    terminal = progress_console(stderr=as_json)

    def report(text: str) -> None:
        stop.raise_if_seen()
        say(terminal, text)

    try:
        with SweepLock(ledger.folder):
            path, session = time_in_turn(ledger, choices, Effort(*effort), report)
    except OSError as error:
        raise UserError(f"{error.filename or ledger.folder.path}: {error.strerror}") from error
    say(terminal, f"written: {path}")
    return session


def _print(session: Session, baseline: str, wide: bool) -> None:
    from orchestrator.table_data import Column, Content, TableData

    minutes = {each.config_id: session.minutes(each.config_id) for each in session.configs}
    parts = list(next(iter(minutes.values())).parts)
    table = TableData(
        [
            Column("method"),
            Column("configuration", Content.NAME, 2),
            Column("examples/epoch", Content.NUMBER, 3),
            Column("min/epoch (95 %)", Content.NUMBER),
            *(Column(part.replace("_", "+"), Content.NUMBER, 4) for part in parts),
        ]
    )
    for each in session.configs:
        own = minutes[each.config_id]
        whole = sum(own.parts.values())
        shares = (f"{own.parts[part] / whole:.1%}" for part in parts)
        numbers = f"{own.examples:,.0f}", own.minutes.text(3), *shares
        table.add(each.label, each.config_id, *numbers)
    print_prose(
        [
            f"{session.device}, threads: {session.threads}, {len(session.quiet)} quiet of "
            f"{len(session.rounds)} rounds, {session.steps} steps of each phase per turn"
        ]
    )
    print_table(table, wide=wide)
    print_prose(_ratios(session, baseline))


def _ratios(session: Session, baseline: str) -> Iterator[str]:
    """What each configuration takes of the others' minutes, and what surgery takes of its own."""
    mark = "no claim: " if session.problem else ""
    names = session.names
    for (one, to), ratio in session.ratios(baseline).items():
        yield f"{mark}{names[one]} takes {ratio.text(3)} of the minutes of {names[to]}"
    for key, name in names.items():
        cost = session.surgery_cost(key)
        if cost is not None and cost.low > 0:
            yield f"{mark}{name}: surgery takes {cost.text(3)} of its time"
        elif cost is not None:
            share = max(cost.high, 0)
            yield f"{mark}{name}: surgery not measurable, below {share:.0%} of its time"
