"""More epochs for a sweep that has run: what a shorter trial committed is taken over.

A trial with more epochs is another trial (its epochs are part of its identity), but where nothing
in a trial depends on how many epochs it will have, the shorter one's epochs are the first ones of
the longer one, to the bit.  They are linked into its directory, and it goes on behind them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.current import fixed_epochs
from orchestrator.spec.models import SweepSpec
from trainer.config import TrainConfig
from trainer.storage.trial_directory import TrialDirectory, record_name


@dataclass
class Extended:
    """What an extension found: trials that go on, and those that cannot, by reason."""

    going_on: int = 0
    anew: Counter[str] = field(default_factory=Counter)

    @property
    def any(self) -> bool:
        return bool(self.going_on or self.anew)

    def lines(self) -> Iterable[str]:
        """What a user is told; nothing where nothing was extended."""
        if self.going_on:
            yield f"{self.going_on} trials go on behind the epochs they have"
        for reason, count in sorted(self.anew.items()):
            yield f"{count} trials begin anew: {reason}"


def extend(
    spec: SweepSpec,
    ledger: Ledger,
    trials: Iterable[TrialRecord],
    identify: Callable[[TrainConfig], dict[str, Any]],
) -> Extended:
    """Begin the longer trial behind every shorter one that allows it.

    Called again after a crash it completes what is missing.  A trial that failed or was pruned is
    extended too: the scheduler decides anew, on the same epochs.
    """
    found = Extended()
    epochs = fixed_epochs(spec.to_dict())
    if epochs is None:
        return found
    for trial in trials:
        if trial.config.get("epochs", epochs) >= epochs or not trial.records:
            continue
        config = TrainConfig.from_dict({**trial.config, "epochs": epochs})
        identity = {**trial.identity, **identify(config)}
        longer = ledger.directory(identity["trial_id"])
        reason = config.bound_to_epochs()
        wanted = [] if reason else trial.records
        if longer.end() is not None or (longer.config() and len(longer.records()) >= len(wanted)):
            continue
        told = {"config": config.to_dict(), "canonical": config.canonical()}
        longer.write_config({**identity, **told, "extends": trial.trial_id})
        _take_over(ledger.directory(trial.trial_id), longer, wanted)
        if reason:
            found.anew[reason] += 1
        else:
            found.going_on += 1
    return found


def _take_over(shorter: TrialDirectory, longer: TrialDirectory, records: list[Any]) -> None:
    """Files before the records that name them, as a commit does."""
    for record in records:
        for name in record.get("files", {}):
            longer.link(name, shorter)
    for record in records:
        longer.link(record_name(record["epoch"]), shorter)
