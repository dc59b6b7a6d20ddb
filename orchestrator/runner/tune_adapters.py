"""Ray Tune's interfaces as thin layers over `Attempts`: a searcher, a scheduler, a callback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ray import tune
from ray.air.execution._internal import actor_manager
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.execution import tune_controller
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from orchestrator.runner.attempt import Report
from orchestrator.runner.attempts import Attempts
from orchestrator.runner.draining import Draining, node_of

# Tune recognises a dead actor by RayActorError.  If Ray's memory monitor killed it, Tune gets
# OutOfMemoryError instead, which would end the whole sweep (Ray 2.60).
for _module in (actor_manager, tune_controller):
    _module.RayActorError = (RayActorError, OutOfMemoryError)


class AttemptSearcher(Searcher):
    """Starts attempts; for Tune each is a separate trial."""

    def __init__(self, attempts: Attempts, draining: Draining | None = None):
        super().__init__()
        self._attempts = attempts
        self._draining = draining

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles it for a restore that we never make

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        order = self._attempts.next(trial_id)
        if order is None:
            # An active attempt may still be lost; then its trial is queued again.
            return None if self._attempts.active else Searcher.FINISHED
        resources = self._attempts.spec.resources
        # An existing process may be on a node that drains.
        drained = self._draining is not None and self._draining.any
        return {
            "trial_id": order["trial_id"],
            "order": json.dumps(order),
            "cpu": resources.cpu,
            "gpu": resources.gpu,
            "alone": order["alone"],
            "own": trial_id if order["alone"] or drained else "",
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        if not error:  # `AttemptEvents.on_trial_error` handles errors
            self._attempts.ended(trial_id, (result or {}).get("report", Report()))


class RungScheduler(FIFOScheduler):
    """Starts trials in their order and stops those that successive halving stops."""

    def __init__(self, attempts: Attempts):
        super().__init__()
        self._attempts = attempts

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        stops = self._attempts.stops(trial.trial_id, result["report"])
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leave it to Tune's ordered queue: FIFO's own choice visits all trials of the run."""


class AttemptEvents(tune.Callback):
    """Passes Tune's events on to `Attempts`."""

    def __init__(self, attempts: Attempts, draining: Draining | None = None):
        self._attempts = attempts
        self._draining = draining

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._attempts.started(trial.trial_id)
        if self._draining is not None:
            self._draining.placed(trial.trial_id, node_of(trial.temporary_state.ray_actor))

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        self._attempts.reported(trial.trial_id, result["report"])

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        try:
            text = Path(trial.error_file).read_text(encoding="utf-8")
        except (OSError, TypeError) as error:  # Tune wrote no file
            text = str(error)
        announced = self._draining is not None and self._draining.leaves(trial.trial_id)
        self._attempts.died(trial.trial_id, text, announced=announced)
        self._forget(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._forget(trial)

    def _forget(self, trial: Any) -> None:
        if self._draining is not None:
            self._draining.ended(trial.trial_id)


class SilentReporter(tune.ProgressReporter):
    """Says nothing: the one that Tune takes in a notebook clears the cell's output."""

    def should_report(self, trials: list[Any], done: bool = False) -> bool:
        return False

    def report(self, trials: list[Any], done: bool, *sys_info: object) -> None:
        return
