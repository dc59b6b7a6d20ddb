"""Which trial a command means: `SWEEP`, `SWEEP@best`, or `SWEEP@TRIAL`."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.errors import UserError
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.best_configuration import best_of, configuration_of
from orchestrator.ledger.current import current
from orchestrator.ledger.evaluations import on_equal_examples
from orchestrator.ledger.listing import find_sweep, find_trial, resolved_spec

#: What stands after the `@` for the best trial.  It is also the default.
BEST = "best"


@dataclass(frozen=True)
class ChosenTrial:
    """A trial of a sweep.

    Attributes:
        seeds: the complete trials of its configuration, by their seeds; the trial is one of them
            unless it is not complete.
    """

    ledger: Ledger
    trial: TrialRecord
    seeds: list[TrialRecord]


def choose_trial(name: str, out: str) -> ChosenTrial:
    """The trial that a user names.

    Args:
        name: a sweep (its name, folder or URI), and after an `@` either `best` or the beginning of
            a trial's id that no other id has.
        out: the folder of all sweeps.

    Raises:
        UserError: there is no such sweep or trial, or no trial is complete.
    """
    sweep, at, which = name.rpartition("@")
    if not at or "/" in which:  # an address may have an @ of its own
        sweep, which = name, BEST
    return trial_of(find_sweep(sweep, out), which)


def trial_of(ledger: Ledger, which: str) -> ChosenTrial:
    """The best trial of a sweep, or the one whose id begins so.  Raises `UserError`."""
    if not which:
        raise UserError(f"{ledger.name}@: no trial is named; allowed: {BEST}, or a trial's id")
    return best_trial(ledger) if which == BEST else _named(ledger, which)


def best_trial(ledger: Ledger) -> ChosenTrial:
    """The best trial of the best configuration (`best_of`).  Raises `UserError` if none is
    complete.
    """
    complete = _complete(ledger)
    ranked = best_of(complete)
    if not ranked:
        raise UserError(f"{ledger.name}: no complete trial; orch ls shows what there is")
    mine = configuration_of(ranked[0])
    return ChosenTrial(ledger, ranked[0], [t for t in complete if configuration_of(t) == mine])


def _named(ledger: Ledger, which: str) -> ChosenTrial:
    trial = find_trial(ledger, which)
    mine = configuration_of(trial)
    return ChosenTrial(ledger, trial, [t for t in _complete(ledger) if configuration_of(t) == mine])


def _complete(ledger: Ledger) -> list[TrialRecord]:
    """The complete trials that count, by their seeds, with scores on equal examples."""
    trials = current(resolved_spec(ledger), ledger.trials())
    complete = [t for t in on_equal_examples(trials) if t.status == "complete" and t.records]
    return sorted(complete, key=lambda trial: (trial.config["seed"], trial.trial_id))
