"""Which trials of a sweep count: those with as many epochs as its file says now."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.ledger.ledger import TrialRecord
from trainer.config import TrainConfig


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
