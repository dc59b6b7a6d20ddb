"""The last and the best epoch of a trial side by side, the best one with its optimism."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.ledger.evaluations import has_all
from trainer.metrics import is_number
from trainer.storage.summary import BEST, best_epoch

if TYPE_CHECKING:
    from orchestrator.ledger.ledger import TrialRecord


def both_epochs(trial: TrialRecord) -> dict[str, Any]:
    """Both epochs' `dev_score` on the dev sets of the epochs, the best one with its optimism.

    Values are None where they are unknown: trials without an epoch have no scores, and those that
    are not complete, or were trained before the optimism was computed, have no optimism.
    """
    if not trial.records:
        names = ("last_dev_score", "best_epoch", "best_dev_score", "optimism")
        return dict.fromkeys(names)
    best = trial.records[best_epoch(trial.records) - 1]
    return {
        "last_dev_score": trial.records[-1]["dev_score"],
        "best_epoch": best["epoch"],
        "best_dev_score": best["dev_score"],
        "optimism": optimism(trial).get("dev_score"),
    }


def best_epoch_note(trials: Iterable[TrialRecord]) -> str:
    """How much too high the scores are if the best epoch counts; empty if the last one does."""
    counting = [trial for trial in trials if trial.score == BEST]
    if not counting:
        return ""
    known = [
        recorded["dev_score"] for trial in counting if "dev_score" in (recorded := optimism(trial))
    ]
    size = (
        f"{math.fsum(known) / len(known):.4f} (dev_score, the mean)"
        if known
        else "an unknown amount"
    )
    if all(map(has_all, counting)):
        return (
            "Scores are those of each trial's best epoch, which the dev sets of the epochs chose. "
            f"These are a part of the whole dev sets. The scores on them are too high by {size}."
        )
    return (
        "Scores are those of each trial's best epoch. The same dev examples chose it, so they are "
        f"too high by {size}."
    )


def optimism(trial: TrialRecord) -> dict[str, float]:
    """By how much the best epoch's `dev_score`, `dev_mean` and metrics of tasks are too high.

    From the summary in end.json (trainer.loop.optimism); empty where that has none.
    """
    recorded = trial.summary.get("optimism")
    if not isinstance(recorded, dict):
        return {}
    tasks = recorded.get("tasks")
    values = {**(tasks if isinstance(tasks, dict) else {}), **recorded}
    return {str(name): float(value) for name, value in values.items() if is_number(value)}
