"""Which trials of a sweep count today: those with as many epochs as its file asks for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from orchestrator.ledger.ledger import TrialRecord
from trainer.config import TrainConfig


def fixed_epochs(spec: dict[str, Any]) -> int | None:
    """How many epochs all trials of a resolved sweep have; None if that is searched or unknown."""
    if not spec:  # its sweep.yaml cannot be read
        return None
    if "epochs" in spec.get("space", {}) or any("epochs" in e for e in spec.get("enqueue", ())):
        return None
    return int((spec.get("base") or {}).get("epochs", TrainConfig().epochs))


def current(spec: dict[str, Any], trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """Trials with as many epochs as the sweep has now; shorter ones went before an extension."""
    epochs = fixed_epochs(spec)
    return [t for t in trials if epochs is None or t.config.get("epochs") == epochs]
