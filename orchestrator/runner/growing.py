"""Room for a trial in a cluster whose autoscaler adds nodes: asked for before the first trial.

At its start such a cluster may have a head without CPUs and nothing else (docker/k8s).  A task of a
trial's size waits there for its node, as a trial would.  So we learn what the node is before any
trial is placed on it, and an autoscaler that can offer no such node says so.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import ray
from ray.autoscaler.v2.utils import is_autoscaler_v2
from ray.core.generated.autoscaler_pb2 import GetClusterStatusReply

from orchestrator.runner.nodes import ClusterError, able, nodes, places_on

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec

logger = logging.getLogger(__name__)

#: Seconds between two looks, and between two messages.
_LOOK_S = 2.0
_TELL_S = 60.0
#: Looks in a row that find the request refused: the autoscaler's answer may be one to others.
_LOOKS = 5


def await_room(wanted: ResourcesSpec, say: Callable[[str], None]) -> bool:
    """Wait until a node of the joined cluster has room for a trial; returns whether we waited.

    Only a cluster with an autoscaler (Ray's version 2, KubeRay's `version: v2`) is waited for, and
    without a limit: a cloud may have no GPU today.  Any other one grows by hand, if at all.

    Raises `ClusterError` if there is no such autoscaler, or if it has no node of this size to add.
    """
    if able(wanted):
        return False
    size = f"{wanted.cpu:g} CPUs and {wanted.gpu:g} GPUs"
    if not has_autoscaler():
        check_room(wanted)
        return False
    say(f"no node has room for a trial ({size}) yet: the cluster's autoscaler is asked for one")
    begun = told = time.monotonic()
    refusals = 0
    asked = ray.remote(_nothing).options(num_cpus=wanted.cpu, num_gpus=wanted.gpu).remote()
    try:
        while not ray.wait([asked], timeout=_LOOK_S)[0]:
            refusals = refusals + 1 if refuses(wanted) else 0
            if refusals == _LOOKS:
                raise ClusterError(
                    f"resources: a trial needs {size}, and the cluster's autoscaler has no node of "
                    "that size to add; use smaller values (--set resources.cpu=... "
                    "--set resources.gpu=...) or give the cluster a larger kind of node"
                )
            if time.monotonic() - told >= _TELL_S:
                told = time.monotonic()
                say(f"still waiting for a node with {size}: {told - begun:.0f} s; Ctrl-C leaves")
    finally:
        ray.cancel(asked, force=True)
    return True


def has_autoscaler() -> bool:
    """Whether Ray's autoscaler, version 2, looks after the joined cluster."""
    try:
        return bool(is_autoscaler_v2(fetch_from_server=True))
    except Exception as error:  # Ray offers it for itself only
        logger.warning("Ray does not say whether it has an autoscaler: %s", error)
        return False


def refuses(wanted: ResourcesSpec) -> bool:
    """Whether the autoscaler says that it can never offer a node with room for a trial."""
    try:
        infeasible = _infeasible()
    except Exception as error:  # Ray offers it for itself only
        logger.warning("Ray's autoscaler does not say what it cannot offer: %s", error)
        return False
    ours = {name: value for name, value in (("CPU", wanted.cpu), ("GPU", wanted.gpu)) if value}
    return ours in infeasible


def _infeasible() -> list[dict[str, float]]:
    """Resources of the requests that no kind of node can fulfil.  Ray 2.60 has no public function
    for it."""
    client: Any = ray._private.worker.global_worker.gcs_client
    reply = GetClusterStatusReply()
    reply.ParseFromString(client.get_cluster_status(timeout_s=_LOOK_S))
    requests = reply.autoscaling_state.infeasible_resource_requests
    return [dict(request.resources_bundle) for request in requests]


def check_room(wanted: ResourcesSpec) -> None:
    """Raise `ClusterError` if no living node, draining or not, is large enough for a trial."""
    if any(places_on(node, wanted) for node in nodes()):
        return
    there = ray.cluster_resources()
    gpus, cpus = there.get("GPU", 0.0), there.get("CPU", 0.0)
    if wanted.gpu > gpus:
        raise ClusterError(
            f"resources.gpu: a trial needs {wanted.gpu:g}, but Ray has {gpus:g}; "
            "use a machine with a GPU or --set resources.gpu=0"
        )
    if wanted.cpu > cpus:
        raise ClusterError(f"resources.cpu: a trial needs {wanted.cpu:g}, but Ray has {cpus:g}")
    raise ClusterError(
        f"resources: a trial needs {wanted.cpu:g} CPUs and {wanted.gpu:g} GPUs on one node, and no "
        "node has so many; use smaller values (--set resources.cpu=... --set resources.gpu=...)"
    )


def _nothing() -> None:
    """What the task that waits for a node does there."""
