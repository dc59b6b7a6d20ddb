"""`orch time` within a sweep: a task that times configurations on a device of the trials' kind."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import UserError
from orchestrator.runner.nodes import able, ask

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec


class TimingError(UserError):
    """The configurations cannot be timed."""


@dataclass(frozen=True)
class TimingOrder:
    """What is timed.

    Attributes:
        out: the folder of all sweeps, and the sweep's `name` in it.
        trial_ids: one trial of each configuration.
        data: where the data are today (`root`, `cache`).
        device: that of the trials (`cuda: NVIDIA H200`).
    """

    out: str
    name: str
    trial_ids: list[str]
    data: dict[str, Any]
    seconds: float
    device: str
    cwd: str


def time_on_ray(wanted: ResourcesSpec, order: TimingOrder, *, joined: bool) -> str:
    """Time the configurations in a task of its own; returns why nothing can be claimed, if so.

    It takes whole GPUs, so that it is alone on its device.  Raises `TimingError`.

    Args:
        joined: the cluster has other nodes, perhaps with other devices.
    """
    gpus = math.ceil(wanted.gpu)
    options: dict[str, Any] = {"num_cpus": wanted.cpu, "num_gpus": gpus, "max_retries": 0}
    if joined:
        options["scheduling_strategy"] = _node_with(order.device, wanted)
    task = ray.remote(_time).options(**options).remote(order)
    try:
        return str(ray.get(task))
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):  # Ray may be going down, too
            ray.cancel(task, force=True)
        raise
    except Exception as error:  # whatever the task or its node raises
        cause = getattr(error, "cause", None) or error
        raise TimingError(str(cause).strip().rpartition("\n")[2]) from error


def _node_with(device: str, wanted: ResourcesSpec) -> NodeAffinitySchedulingStrategy:
    """A node whose device is of this kind, such as `cuda: NVIDIA H200`."""
    kind = device.partition(":")[0]

    def answer() -> Any:
        from trainer.loop.device import choose_device
        from trainer.storage.provenance import device_name

        return device_name(choose_device(kind))

    for node, name in ask(able(wanted), answer, math.ceil(wanted.gpu)).items():
        if name == device:
            return NodeAffinitySchedulingStrategy(node.id, soft=False)
    raise TimingError(f"no node has a free device of the trials' kind ({device})")


def _time(order: TimingOrder) -> str:
    if os.path.isdir(order.cwd):
        os.chdir(order.cwd)  # relative data folders are relative to the driver's
    from orchestrator.fair_timing import Effort, group_of, ready, time_in_turn
    from orchestrator.ledger import Ledger

    ledger = Ledger(order.out, order.name)
    trials = ledger.trials()
    known = {trial.trial_id: trial for trial in trials}
    groups = [group_of(known[name], trials) for name in order.trial_ids]
    effort = Effort(seconds=order.seconds)
    _, session = time_in_turn(ledger, ready(groups, order.data), effort)
    return session.problem
