"""An attempt at a trial as Ray Tune sees it: a step is an epoch."""

from __future__ import annotations

import json
import math
from functools import lru_cache
from typing import Any

import ray
from ray import tune

from orchestrator.runner.attempt import Attempt


class TrialTrainable(tune.Trainable):
    """Tune's config of an attempt is `trial_id`, `order` (an `Order` as JSON: Tune copies and
    flattens everything else again and again), `cpu`, `gpu`, `alone` (whether it is) and `own`, a
    name that no other attempt has if it needs a process of its own.  Its result is `report`, an
    object, because Tune keeps a history of every number that it finds in a result, and the id of
    its `node`."""

    _order: str
    _attempt: Attempt | None

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return _request(config["cpu"], config["gpu"], config["alone"], config["own"])

    def setup(self, config: dict[str, Any]) -> None:
        self._order = config["order"]
        self._attempt = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this process: it has torch loaded already."""
        self.cleanup()
        self.setup(new_config)
        return True

    def step(self) -> dict[str, Any]:
        self._attempt = self._attempt or Attempt(json.loads(self._order))
        report = self._attempt.epoch()
        node = ray.get_runtime_context().get_node_id()
        return {"report": report, "done": report.ended, "node": node}

    def cleanup(self) -> None:
        if self._attempt is not None:
            self._attempt.close()
        self._attempt = None

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        raise NotImplementedError("a trial's state is in its own directory")

    def load_checkpoint(self, checkpoint: Any) -> None:
        raise NotImplementedError("a trial's state is in its own directory")


@lru_cache
def _request(cpu: float, gpu: float, alone: bool, own: str) -> tune.PlacementGroupFactory:
    """What an attempt takes.  One that is alone has its GPU to itself.  One with an `own` name has
    a request that no other has: Tune gives it no process that has held another trial, and its
    process to no other."""
    if not own:
        return tune.PlacementGroupFactory([{"CPU": cpu, "GPU": gpu}])
    bundle = {"CPU": cpu, "GPU": float(math.ceil(gpu)) if alone else gpu}
    return tune.PlacementGroupFactory([bundle], "PACK", name=own)
