"""What every node of a cluster says of itself, asked before a trial is placed on it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from orchestrator.runner.draining import draining_nodes

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec
    from trainer.loop.device import Hardware

logger = logging.getLogger(__name__)

#: What a trial's numbers depend on; a node with another version is no node of this cluster.
PACKAGES = ("orch-mtl", "torch", "ray")
#: Seconds that a node may take to answer; the first time its worker must start.
_PATIENCE_S = 60.0
#: The same for one that has not answered when all were waited for.
_AFTERWARDS_S = 1.0


@dataclass(frozen=True)
class Node:
    """A node of the cluster that lives."""

    id: str
    address: str
    #: What it offers: `CPU`, `GPU`, `memory` (bytes).
    resources: dict[str, float] = field(compare=False)
    #: It is about to go; nothing can be placed on it.
    draining: bool = False

    @property
    def name(self) -> str:
        """Its address, and enough of its id where several share one."""
        return f"{self.address} ({self.id[:6]})"


def nodes() -> list[Node]:
    """The living nodes of the cluster that was joined, by their names."""
    try:
        drains = draining_nodes()
    except Exception as error:  # Ray's own; without its answer all are asked
        logger.warning("Ray does not say which nodes drain: %s", error)
        drains = {}
    found = [
        Node(n["NodeID"], n["NodeManagerAddress"], dict(n["Resources"]), n["NodeID"] in drains)
        for n in ray.nodes()
        if n["Alive"]
    ]
    return sorted(found, key=lambda node: node.name)


def ask(where: list[Node], question: Callable[[], Any], gpus: float = 0) -> dict[Node, Any]:
    """Answers of the nodes; one that gives none has the exception that says why.

    A function defined inside another one travels as it is; a node need not have our code.

    Args:
        gpus: share of a GPU that answering takes; without one a worker may see none.
    """
    asked = {node: _pinned(ray.remote(question), node, gpus).remote() for node in where}
    ray.wait(list(asked.values()), num_returns=len(asked), timeout=_PATIENCE_S)
    return {node: _answer(reference, _AFTERWARDS_S) for node, reference in asked.items()}


def versions() -> Callable[[], dict[str, Any]]:
    """What to `ask` for the versions of `PACKAGES` and of Python, and whether Ray asks for a token.

    Local parts (2.13.0+cpu) are left out: a head without a GPU has another build.
    """
    packages = PACKAGES

    def answer() -> dict[str, Any]:
        import importlib.metadata
        import platform

        from ray._private.authentication.authentication_utils import is_token_auth_enabled

        found: dict[str, Any] = {"python": ".".join(platform.python_version_tuple()[:2])}
        for package in packages:
            try:
                found[package] = importlib.metadata.version(package).partition("+")[0]
            except importlib.metadata.PackageNotFoundError:
                found[package] = ""
        return {"versions": found, "token": is_token_auth_enabled()}

    return answer


def trial_hardware(wanted: ResourcesSpec, device: str) -> list[Hardware]:
    """What trials compute on, on every node that has room for one and answers; may be empty.

    Args:
        device: the config's.
    """

    def answer() -> Any:
        from trainer.loop.device import choose_device, hardware_of

        return hardware_of(choose_device(device))

    able = [
        node
        for node in nodes()
        if not node.draining
        and wanted.places(node.resources.get("CPU", 0.0), node.resources.get("GPU", 0.0))
    ]
    found = []
    for node, hardware in ask(able, answer, wanted.gpu).items():
        if isinstance(hardware, Exception):
            logger.warning("node %s does not say what it computes on: %s", node.name, hardware)
        else:
            found.append(replace(hardware, host=f"node {node.name}"))
    return found


def differences(name: str, theirs: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """One line a package that a node has not as this machine has it."""
    lines = []
    for package, version in ours.items():
        found = theirs.get(package, "")
        if found != version:
            what = f"has {package} {found}" if found else f"does not have {package}"
            lines.append(f"node {name} {what}, this machine has {version or 'none'}")
    return lines


class Witness:
    """Lives on one node and tells of it; a relative path means the driver's, as in a trial."""

    def __init__(self, cwd: str):
        import os

        if os.path.isdir(cwd):
            os.chdir(cwd)

    def call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        return function(*arguments)


@contextlib.contextmanager
def witnesses(where: list[Node], cwd: str) -> Iterator[dict[Node, Any]]:
    """A `Witness` on each node, to be asked by `tell`; they are gone afterwards."""
    actor = ray.remote(Witness)
    made = {node: _pinned(actor, node).remote(cwd) for node in where}
    try:
        yield made
    finally:
        for witness in made.values():
            ray.kill(witness)


def tell(witness: Any, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function of ours returns on the witness's node; an exception if there is no answer."""
    return _answer(witness.call.remote(function, *arguments))


def _pinned(remote: Any, node: Node, gpus: float = 0) -> Any:
    strategy = NodeAffinitySchedulingStrategy(node.id, soft=False)
    return remote.options(num_cpus=0, num_gpus=gpus, scheduling_strategy=strategy)


def _answer(reference: Any, patience_s: float = _PATIENCE_S) -> Any:
    try:
        return ray.get(reference, timeout=patience_s)
    except Exception as error:  # a node's exception is of any kind
        return error
