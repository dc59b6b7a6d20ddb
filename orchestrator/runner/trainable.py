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
    """Tune's config of an attempt has `trial_id`, `cpu`, `gpu`, `alone`, `order` and `own`.

    `order` is an `Order` as JSON, because Tune copies and flattens everything else many times.
    `own` is a unique name if the attempt needs its own process, else empty.  A result has the id of
    its `node`, and `report` as an object, because Tune keeps a history of every plain number.
    """

    _order: str
    _attempt: Attempt | None

    @classmethod
    def default_resource_request(cls, config: dict[str, Any]) -> tune.PlacementGroupFactory:
        return _request(config["cpu"], config["gpu"], config["alone"], config["own"])

    def setup(self, config: dict[str, Any]) -> None:
        self._order = config["order"]
        self._attempt = None

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Train the next trial in this process, which has already loaded torch."""
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


@lru_cache
def _request(cpu: float, gpu: float, alone: bool, own: str) -> tune.PlacementGroupFactory:
    """The resources of an attempt.

    An attempt that runs alone takes whole GPUs.  An `own` name makes the request unique, so that
    Tune shares its process with no other attempt.
    """
    if not own:
        return tune.PlacementGroupFactory([{"CPU": cpu, "GPU": gpu}])
    bundle = {"CPU": cpu, "GPU": float(math.ceil(gpu)) if alone else gpu}
    return tune.PlacementGroupFactory([bundle], "PACK", name=own)
