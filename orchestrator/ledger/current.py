"""Which trials of a sweep count: those with as many epochs as its file says now, by stage.

A sweep has two stages.  The search trains the configurations of its file.  Confirming trains one
configuration of each compared method on fresh seeds (orchestrator.decision).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from trainer.config import TrainConfig

if TYPE_CHECKING:
    from orchestrator.ledger.ledger import TrialRecord


def fixed_epochs(spec: dict[str, Any]) -> int | None:
    """The number of epochs of all trials of a resolved sweep; None if it is searched or unknown."""
    if not spec:  # its sweep.yaml cannot be read
        return None
    if "epochs" in spec.get("space", {}) or any("epochs" in e for e in spec.get("enqueue", ())):
        return None
    return int((spec.get("base") or {}).get("epochs", TrainConfig().epochs))


def current(spec: dict[str, Any], trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials with as many epochs as the sweep has now; shorter ones precede an extension."""
    epochs = fixed_epochs(spec)
    return [t for t in trials if epochs is None or t.config.get("epochs") == epochs]


#: `stage` in the config.json of a trial that the confirming stage trains.
CONFIRM = "confirm"


def is_confirming(trial: TrialRecord) -> bool:
    """Whether the confirming stage trained the trial."""
    return trial.identity.get("stage") == CONFIRM


def searched(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials of the search: all that the confirming stage did not train."""
    return [trial for trial in trials if not is_confirming(trial)]


def confirming(trials: Iterable[TrialRecord], decision: int | None = None) -> list[TrialRecord]:
    """The trials of the confirming stage, of one decision or of all."""
    wanted = [trial for trial in trials if is_confirming(trial)]
    if decision is None:
        return wanted
    return [trial for trial in wanted if trial.identity.get("decision") == decision]


def next_number(trials: Iterable[TrialRecord]) -> int:
    """The number of the next decision: one more than the highest that has trials."""
    numbers = (trial.identity.get("decision") for trial in confirming(trials))
    return 1 + max((number for number in numbers if isinstance(number, int)), default=0)
