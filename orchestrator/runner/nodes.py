"""Questions to the nodes of a cluster, asked before trials are placed on them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.errors import UserError
from orchestrator.runner.draining import draining_nodes

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec
    from trainer.loop.device import Hardware

logger = logging.getLogger(__name__)

#: A trial's numbers depend on these, so all nodes must have the same versions.
PACKAGES = ("orch-mtl", "torch", "ray")
#: Seconds that a node may take to answer; at first its worker must start.
_PATIENCE_S = 60.0
#: Seconds for each node that has not answered by then.
_AFTERWARDS_S = 1.0


class ClusterError(UserError):
    """Ray does not start, does not answer, or has no room for a single trial."""


@dataclass(frozen=True)
class Node:
    """A living node of the cluster."""

    id: str
    address: str
    #: What it offers: `CPU`, `GPU`, `memory` (bytes).
    resources: dict[str, float] = field(compare=False)
    #: It is about to go, and nothing can be placed on it.
    draining: bool = False

    @property
    def name(self) -> str:
        """Its address, and some of its id, because several nodes may share an address."""
        return f"{self.address} ({self.id[:6]})"


def nodes() -> list[Node]:
    """The living nodes of the joined cluster, sorted by name."""
    try:
        drains = draining_nodes()
    except Exception as error:  # of any kind; then we ask all nodes
        logger.warning("Ray does not say which nodes drain: %s", error)
        drains = {}
    living = [
        Node(n["NodeID"], n["NodeManagerAddress"], dict(n["Resources"]), n["NodeID"] in drains)
        for n in ray.nodes()
        if n["Alive"]
    ]
    return sorted(living, key=lambda node: node.name)


def ask(where: list[Node], question: Callable[[], Any], gpus: float = 0) -> dict[Node, Any]:
    """The nodes' answers; an exception for each node without one.

    Ray sends a function that is defined inside another one as a whole, so the node does not need
    our code.

    Args:
        gpus: share of a GPU that the question needs; with 0 a worker may see no GPU.
    """
    asked = {node: _pinned(ray.remote(question), node, gpus).remote() for node in where}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_PATIENCE_S)
    return {node: _answer(reference, _AFTERWARDS_S) for node, reference in asked.items()}


def versions() -> Callable[[], dict[str, Any]]:
    """A question for `ask`: versions of Python and `PACKAGES`, and whether Ray demands a token.

    Build suffixes (2.13.0+cpu) are left out, because a head without a GPU has another build.
    """
    packages = PACKAGES

    def answer() -> dict[str, Any]:
        import importlib.metadata
        import platform

        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        installed: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
        for package in packages:
            try:
                installed[package] = importlib.metadata.version(package).partition("+")[0]
            except importlib.metadata.PackageNotFoundError:
                installed[package] = ""
        return {"versions": installed, "token": is_token_auth_enabled()}

    return answer


def able(wanted: ResourcesSpec) -> list[Node]:
    """The nodes that stay and have room for a trial."""
    return [node for node in nodes() if not node.draining and places_on(node, wanted)]


def places_on(node: Node, wanted: ResourcesSpec) -> int:
    """How many trials an empty node has room for."""
    return wanted.places(node.resources.get("CPU", 0.0), node.resources.get("GPU", 0.0))


def trial_hardware(wanted: ResourcesSpec, device: str) -> list[Hardware]:
    """The hardware for trials on every node that has room for one and answers; may be empty.

    Args:
        device: the config's `device`.
    """

    def answer() -> Any:
        from trainer.loop.device import choose_device, hardware_of

        return hardware_of(choose_device(device))

    known = []
    for node, hardware in ask(able(wanted), answer, wanted.gpu).items():
        if isinstance(hardware, Exception):
            logger.warning("node %s does not report its hardware: %s", node.name, hardware)
        else:
            known.append(replace(hardware, host=f"node {node.name}"))
    return known


def differences(name: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """A message for each package of which a node has another version than this machine."""
    lines = []
    for package, version in ours.items():
        installed = theirs.get(package, "")
        if installed != version:
            what = f"has {package} {installed}" if installed else f"does not have {package}"
            lines.append(f"node {name} {what}, this machine has {version or 'none'}")
    return lines


class Witness:
    """An actor that answers questions on one node, if possible in the driver's directory."""

    def __init__(self, cwd: str):
        import os

        if os.path.isdir(cwd):
            os.chdir(cwd)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


@contextlib.contextmanager
def witnesses(where: list[Node], cwd: str) -> Iterator[dict[Node, Any]]:
    """A `Witness` on each node for `tell`; they are gone afterwards."""
    actor = ray.remote(Witness)
    actors = {node: _pinned(actor, node).remote(cwd) for node in where}
    try:
        yield actors
    finally:
        for witness in actors.values():
            ray.kill(witness)


def tell(witness: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """What our function returns on the witness's node; an exception if there is no answer."""
    return _answer(witness.call.remote(function, *arguments))


def _pinned(remote: Any, node: Node, gpus: float = 0) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return remote.options(num_cpus=0, num_gpus=gpus, scheduling_strategy=strategy)


def _answer(reference: Any, patience_s: float = _PATIENCE_S) -> Any:
    try:
        return ray.get(reference, timeout=patience_s)
    except Exception as error:  # a node's exception is of any kind
        return error
