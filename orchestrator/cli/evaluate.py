"""`orch evaluate`: score the trained models of a sweep on more examples."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.streams import outlive_readers
from orchestrator.cli.terminal import (
    DataFolder,
    Device,
    Json,
    Out,
    Sweep,
    complain,
    print_json,
    print_prose,
    progress_console,
)
from orchestrator.errors import UserError
from orchestrator.signals import terminate_is_interrupt

if TYPE_CHECKING:
    from orchestrator.evaluate import Evaluated
    from orchestrator.ledger import Ledger, TrialRecord


def evaluate_trials(
    name: Sweep,
    trials: Annotated[
        list[str] | None,
        typer.Option("--trials", metavar="ID", help="Evaluate this trial; repeatable."),
    ] = None,
    dev: Annotated[
        str,
        typer.Option(
            metavar="all|FILE", help="The whole dev sets, or a labelled file of one task."
        ),
    ] = "all",
    task: Annotated[
        str, typer.Option(metavar="TASK", help="The task of FILE, if its columns fit several.")
    ] = "",
    data: DataFolder = None,
    device: Device = "auto",
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; all cores if it is not given.")
    ] = None,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Score the last checkpoint of complete trials on more examples, without training.

    Each trial gets a record of its own. Where all compared trials have the whole dev sets, orch
    compare uses these scores. If it is interrupted, run it again: what is done is kept.
    """
    import torch

    from orchestrator.evaluate import Examples, Place, evaluate_trials, skipped_line
    from orchestrator.export.trained_model import check_device
    from orchestrator.ledger.listing import data_folders, find_sweep
    from orchestrator.progress import say

    outlive_readers()
    check_device(device)
    if threads:
        torch.set_num_threads(threads)
    terminal = progress_console(stderr=as_json)
    ledger = find_sweep(name, out)
    examples = Examples.of(dev, task)
    chosen = _chosen(ledger, trials or [])
    done: list[Evaluated] = []
    begun, progress = time.monotonic(), _Progress(chosen)
    try:
        with terminate_is_interrupt():
            place = Place(data_folders(ledger, data), device)
            for each in evaluate_trials(
                ledger, chosen, examples, place, lambda text: say(terminal, text)
            ):
                done.append(each)
                if line := progress.line(each):
                    say(terminal, line)
    except KeyboardInterrupt:
        complain("interrupted; run the same command again to evaluate the rest")
        raise typer.Exit(130) from None
    counts = {state: sum(each.state == state for each in done) for state in _STATES}
    if line := skipped_line([each for each in done if each.state == "skipped"]):
        say(terminal, line)
    if as_json:
        print_json(
            {"name": ledger.name, "evaluation": examples.name, "counts": counts,
             "trials": [each.to_dict() for each in done]}
        )  # fmt: skip
    else:
        minutes = (time.monotonic() - begun) / 60
        print_prose(
            [
                f"{ledger.name}: evaluation {examples.name}: {counts['evaluated']} evaluated in "
                f"{minutes:.1f} min, {counts['kept']} kept, {counts['failed']} failed"
            ]
        )
    raise typer.Exit(1 if counts["failed"] else 0)


_STATES = ("evaluated", "kept", "skipped", "failed")


class _Progress:
    """A line for each evaluated trial, with an estimate of the rest."""

    def __init__(self, trials: list[TrialRecord]):
        self._left = len(trials)
        self._count = 0
        self._started = time.monotonic()

    def line(self, each: Evaluated) -> str:
        self._left -= 1
        if each.state in ("skipped", "kept"):
            self._started = time.monotonic()
            return ""
        self._count += 1
        if each.state == "failed":
            return f"{each.trial_id}: failed: {each.reason}"
        score = each.record["dev_score"]
        values = {"dev_score": score} if score is not None else {}
        values |= {task: of["dev_metric"] for task, of in each.record["tasks"].items()}
        shown = "  ".join(f"{key} {value:.4f}" for key, value in values.items())
        rest = (time.monotonic() - self._started) / self._count * self._left / 60
        tail = f", about {rest:.1f} min left" if self._left else ""
        return f"{each.trial_id}  {shown}  {each.record['evaluation_minutes']:.2f} min{tail}"


def _chosen(ledger: Ledger, names: list[str]) -> list[TrialRecord]:
    """The named trials, or all that count in the sweep."""
    from orchestrator.ledger import listing
    from orchestrator.ledger.current import current

    if names:
        return [listing.find_trial(ledger, each) for each in names]
    reading = ledger.read()
    for trial, reason in reading.unreadable.items():
        complain(f"{trial} cannot be read: {reason}")
    trials = current(listing.resolved_spec(ledger), reading.trials)
    if not trials:
        raise UserError(f"no trial in {ledger.folder.path}")
    return trials
