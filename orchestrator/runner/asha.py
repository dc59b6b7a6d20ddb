"""ASHA whose rungs outlive the process: keyed by our trial ids and filled from the ledger."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ray.tune.schedulers import ASHAScheduler, TrialScheduler

from orchestrator.ledger import TrialRecord


@dataclass(frozen=True)
class _Key:
    """All that ASHA reads of a trial."""

    trial_id: str


class LedgerASHA(ASHAScheduler):
    """Asynchronous successive halving (Li et al. 2018) on the epochs' records.

    Tune's ids change with every start; a trial's place in a rung must not.
    """

    def replay(self, trials: Iterable[TrialRecord]) -> dict[str, int]:
        """Fill the rungs with what earlier runs committed, in the order of the commits.

        Returns the trials that are stopped by their newest epoch, with its number: a driver that
        was killed after that commit had no time to stop them.
        """
        commits = [
            (r.get("finished_at", ""), r["epoch"], t.trial_id, r) for t in trials for r in t.records
        ]
        keys = {trial_id: _Key(trial_id) for _, _, trial_id, _ in commits}
        for key in keys.values():
            super().on_trial_add(None, key)
        decisions: dict[str, tuple[str, int]] = {}
        for _, epoch, trial_id, record in sorted(commits, key=lambda c: c[:3]):
            decisions[trial_id] = super().on_trial_result(None, keys[trial_id], record), epoch
        return {
            trial_id: epoch
            for trial_id, (decision, epoch) in decisions.items()
            if decision == TrialScheduler.STOP
        }

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_add(tune_controller, _key(trial))

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return super().on_trial_result(tune_controller, _key(trial), result)

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        super().on_trial_complete(tune_controller, _key(trial), result)

    def on_trial_remove(self, tune_controller: Any, trial: Any) -> None:
        super().on_trial_remove(tune_controller, _key(trial))


def _key(trial: Any) -> _Key:
    return _Key(trial.config["trial_id"])
