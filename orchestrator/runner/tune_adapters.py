"""What Ray Tune asks and tells: a searcher, a scheduler, a callback, all thin over `Attempts`."""

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

# Tune knows the death of an actor by its type.  Where Ray's memory monitor has killed the actor, it
# gets OutOfMemoryError, which is none, and would end the whole sweep (Ray 2.60).
for _module in (actor_manager, tune_controller):
    _module.RayActorError = (RayActorError, OutOfMemoryError)


class AttemptSearcher(Searcher):
    """Begins attempts; to Tune each is a trial of its own."""

    def __init__(self, attempts: Attempts, draining: Draining | None = None):
        super().__init__()
        self._attempts = attempts
        self._draining = draining

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles what it is given, for a restore that is never made

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        order = self._attempts.next(trial_id)
        if order is None:
            # An attempt that is still active may be lost, and its trial begun again.
            return None if self._attempts.active else Searcher.FINISHED
        resources = self._attempts.spec.resources
        # A process that is there already may stand on a node that is to be left.
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
        if not error:  # else `AttemptEvents.on_trial_error` hears of it, and why
            self._attempts.ended(trial_id, (result or {}).get("report", Report()))


class RungScheduler(FIFOScheduler):
    """Begins trials in their order and stops those that the rungs stop."""

    def __init__(self, attempts: Attempts):
        super().__init__()
        self._attempts = attempts

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        stops = self._attempts.stops(trial.trial_id, result["report"])
        return TrialScheduler.STOP if stops else TrialScheduler.CONTINUE

    def choose_trial_to_run(self, tune_controller: Any) -> None:
        """Leaves it to Tune's queue, which is in order: FIFO's own look goes through all trials
        that there ever were."""


class AttemptEvents(tune.Callback):
    """Tells what Tune reports of an attempt."""

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
        except (OSError, TypeError) as error:  # Tune had no place for it
            text = str(error)
        announced = self._draining is not None and self._draining.leaves(trial.trial_id)
        self._attempts.died(trial.trial_id, text, announced=announced)
        self._forget(trial)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._forget(trial)

    def _forget(self, trial: Any) -> None:
        if self._draining is not None:
            self._draining.ended(trial.trial_id)
