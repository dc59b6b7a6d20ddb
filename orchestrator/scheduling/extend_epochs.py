"""More epochs for a sweep that has run: a longer trial takes over the epochs of a shorter one.

The number of epochs is part of a trial's identity, so a longer trial is another trial.  If nothing
in it depends on that number, its first epochs equal those of the shorter trial.  They
are linked into its directory, and the longer trial resumes after them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.current import fixed_epochs, searched
from orchestrator.spec.models import SweepSpec
from trainer.config import TrainConfig, described
from trainer.storage.summary import BEST
from trainer.storage.trial_directory import TrialDirectory, record_name


@dataclass
class Extended:
    """How many longer trials resume, and how many must start from epoch 1, by reason."""

    resumed: int = 0
    restarted: Counter[str] = field(default_factory=Counter)

    @property
    def any(self) -> bool:
        return bool(self.resumed or self.restarted)

    def lines(self) -> Iterable[str]:
        """Messages for the user; none if nothing was extended."""
        if self.resumed:
            yield f"{self.resumed} trials resume after the epochs they have"
        for reason, count in sorted(self.restarted.items()):
            yield f"{count} trials start again from epoch 1: {reason}"


def extend(
    spec: SweepSpec,
    ledger: Ledger,
    trials: Iterable[TrialRecord],
    identify: Callable[[TrainConfig], dict[str, Any]],
) -> Extended:
    """Create the longer trial for every shorter one, with the epochs it can take over.

    After a crash another call completes what is missing.  Failed and pruned trials are extended
    too: the scheduler decides again, on the same epochs.  A confirming trial is never extended,
    because its decision fixed its epochs.
    """
    extended = Extended()
    epochs = fixed_epochs(spec.to_dict())
    if epochs is None:
        return extended
    for trial in searched(trials):
        if trial.config.get("epochs", epochs) >= epochs or not trial.records:
            continue
        config = TrainConfig.from_dict({**trial.config, "epochs": epochs})
        identity = {**trial.identity, **identify(config)}
        longer = ledger.directory(identity["trial_id"])
        reason = config.bound_to_epochs() or _without_checkpoint(trial)
        records = [] if reason else trial.records
        if longer.end() is not None or (longer.config() and len(longer.records()) >= len(records)):
            continue
        longer.write_config({**identity, **described(config), "extends": trial.trial_id})
        _take_over(ledger.directory(trial.trial_id), longer, records)
        if reason:
            extended.restarted[reason] += 1
        else:
            extended.resumed += 1
    return extended


def _without_checkpoint(trial: TrialRecord) -> str:
    """Why a trial has nothing to resume from; empty if it has."""
    kept = trial.config["keep"] == BEST and trial.status == "complete"
    return "keep: best kept only the weights of their best epochs" if kept else ""


def _take_over(shorter: TrialDirectory, longer: TrialDirectory, records: list[Any]) -> None:
    # Files come before the records that name them, as in a commit.
    for record in records:
        for name in record.get("files", {}):
            longer.link(name, shorter)
    for record in records:
        longer.link(record_name(record["epoch"]), shorter)
