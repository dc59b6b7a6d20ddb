"""`orch rm`: a sweep or a trial, with everything that MLflow and Optuna have of it."""

from __future__ import annotations

import shutil
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import completion
from orchestrator.cli.streams import outlive_readers
from orchestrator.cli.terminal import Json, Out, Patience, print_json, print_prose, say
from orchestrator.errors import UserError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger


def remove(
    name: Annotated[
        str,
        typer.Argument(
            metavar="SWEEP[@TRIAL]",
            help="A sweep, or one of its trials.",
            autocompletion=completion.sweeps_and_trials,
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    keep_tracking: Annotated[
        bool, typer.Option("--keep-tracking", help="Leave MLflow and Optuna alone.")
    ] = False,
    out: Out = "sweeps",
    as_json: Json = False,
) -> None:
    """Remove a sweep or a trial: its files, and its runs, models and study in MLflow and Optuna.

    It asks first. A sweep that runs is not touched. orch sweep trains a removed trial again.
    """
    from orchestrator.ledger.listing import find_sweep, find_trial, resolved_spec
    from orchestrator.ledger.sweep_lock import SweepLock

    sweep, at, which = name.rpartition("@")
    if not at or "/" in which:  # an address may have an @ of its own
        sweep, which = name, ""
    ledger = find_sweep(sweep, out)
    trial_id = find_trial(ledger, which).trial_id if which else ""
    place = ledger.path(trial_id) if trial_id else ledger.folder.path
    if not yes:
        _ask(ledger, trial_id, place)
    outlive_readers()
    removed = []
    with SweepLock(ledger.folder), Patience(f"removing {name}"):
        resolved = resolved_spec(ledger)
        if not keep_tracking:
            from orchestrator.tracking.removal import remove_from_tracking

            removed = remove_from_tracking(ledger, resolved, trial_id)
        if trial_id:
            _remove_trial(ledger, trial_id)
            if not keep_tracking:
                from orchestrator.tracking.projections import sync

                sync(ledger, resolved, say)  # the answer, the best model and the study without it
        elif ledger.folder.local is None:
            ledger.out.delete(ledger.name)
    if not trial_id and ledger.folder.local is not None:
        _remove_folder(ledger)
    if as_json:
        print_json({"removed": place, "tracking": removed})
        return
    print(f"removed {place}" + "".join(f"\nremoved {what}" for what in removed))


def _ask(ledger: Ledger, trial_id: str, place: str) -> None:
    if not sys.stdin.isatty():
        raise UserError("orch rm: nobody is there to ask; --yes removes without a question")
    count = len(ledger.trial_ids())
    what = f"trial {trial_id}" if trial_id else f"sweep {ledger.name} with its {count} trials"
    print_prose([f"{place}: {what}"], err=True)
    typer.confirm("Remove it, also from MLflow and Optuna?", abort=True, err=True)


def _remove_trial(ledger: Ledger, trial_id: str) -> None:
    folder = ledger.trials_folder.local
    if folder is None:
        ledger.trials_folder.delete(trial_id)
        return
    # Half of a trial would be another trial: so first it gets a name that is none.
    shutil.rmtree((folder / trial_id).rename(folder / f".removed-{uuid.uuid4()}"))


def _remove_folder(ledger: Ledger) -> None:
    from orchestrator.ledger.sweep_id import set_aside

    moved = set_aside(ledger.folder)
    if moved is not None:
        shutil.rmtree(Path(moved))
