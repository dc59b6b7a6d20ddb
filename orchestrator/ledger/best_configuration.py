"""Which configuration of a sweep is the best, and its trials: one rule for all commands."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.ledger.current import searched
from orchestrator.ledger.evaluations import counted_record

if TYPE_CHECKING:
    from orchestrator.ledger.ledger import TrialRecord


def best_of(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The search's complete trials of the best configuration, the best one first.

    The best configuration has the highest mean `dev_score` over its seeds.  It is one of those with
    the most seeds, because one lucky seed is no evidence.  Scores are those of the epoch that
    counts, on the whole dev sets if all trials have them.  Of equals it is the smaller id.

    Args:
        trials: with scores on equal examples; those that are not complete are left out.

    Returns an empty list if no trial of the search is complete.
    """
    groups: dict[str, list[TrialRecord]] = {}
    for trial in sorted(searched(trials), key=lambda trial: trial.trial_id):
        if trial.status == "complete" and trial.records:
            groups.setdefault(configuration_of(trial), []).append(trial)
    most = max(map(len, groups.values()), default=0)
    means = {
        config_id: statistics.fmean(map(counted_score, group))
        for config_id, group in sorted(groups.items())
        if len(group) == most
    }
    best = max(means, key=lambda config_id: means[config_id], default="")
    return sorted(groups.get(best, ()), key=counted_score, reverse=True)


def configuration_of(trial: TrialRecord) -> str:
    """What trials of one configuration have in common."""
    return str(trial.identity.get("config_id") or trial.trial_id)


def counted_score(trial: TrialRecord) -> float:
    """The `dev_score` of the epoch that counts; the trial has an epoch."""
    return float(counted_record(trial)["dev_score"])
