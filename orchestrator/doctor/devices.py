"""The devices of trials: of how many kinds they are, and whether the CPUs suffice to use them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.doctor.finding import Finding, ok, warning

if TYPE_CHECKING:
    from orchestrator.spec import ResourcesSpec, SweepSpec

#: What a node or this machine offers: `CPU`, `GPU`.
Offer = Mapping[str, float]
_ANY_NUMBER = 1e6


def device_findings(
    machines: Mapping[str, dict[str, Any]], offers: Mapping[str, Offer], spec: SweepSpec | None
) -> Iterator[Finding]:
    """Check whether all nodes that have room for a trial have devices of one kind.

    Args:
        machines: node -> what `machine.describe` says there.
        offers: node -> what it offers for trials; a node without an entry offers what it has.
    """
    kinds: dict[str, list[str]] = {}
    for node, machine in machines.items():
        offer = offers.get(node, {"CPU": machine["cpus"], "GPU": len(machine["gpus"])})
        if holds_trials(spec, offer):
            for kind in dict.fromkeys(_kinds(machine, spec, offer)):
                kinds.setdefault(kind, []).append(node)
    found = "; ".join(f"{kind} on {', '.join(nodes)}" for kind, nodes in kinds.items())
    if len(kinds) > 1:
        remedy = (
            "minutes of trials compare within one kind only; one precision must suit all of them: "
            "precision: auto becomes the best that all multiply natively"
        )
        yield warning("devices", found, remedy)
    elif kinds:
        yield ok("devices", found)


def idle_findings(spec: SweepSpec | None, offer: Offer, node: str = "") -> Iterator[Finding]:
    """Whether GPUs stay idle because there are too few CPUs for trials on them."""
    cpus, gpus = offer.get("CPU", 0.0), offer.get("GPU", 0.0)
    if not gpus:
        return
    if spec is None:
        if cpus < gpus:
            text = f"{cpus:g} CPUs for {gpus:g} GPUs: a trial needs at least one of each"
            yield warning("idle gpu", text, "offer more CPUs there", node=node)
        return
    wanted: ResourcesSpec = spec.resources
    if not wanted.gpu:
        return
    room, without = wanted.places(cpus, gpus), wanted.places(_ANY_NUMBER, gpus)
    if room < min(without, wanted.max_concurrent):
        text = (
            f"{gpus:g} GPUs have room for {without} trials of {wanted.gpu:g}, but {cpus:g} CPUs "
            f"for {room} of {wanted.cpu:g}"
        )
        yield warning("idle gpu", text, "offer more CPUs there, or lower resources.cpu", node=node)


def holds_trials(spec: SweepSpec | None, offer: Offer) -> bool:
    """Whether a trial fits; without a sweep, whether there is a CPU."""
    cpus, gpus = offer.get("CPU", 0.0), offer.get("GPU", 0.0)
    return bool(cpus if spec is None else spec.resources.places(cpus, gpus))


def wants_gpu(spec: SweepSpec | None) -> bool:
    """Whether trials of the sweep ask for a GPU."""
    return spec is not None and spec.device != "cpu" and bool(spec.resources.gpu)


def _kinds(machine: dict[str, Any], spec: SweepSpec | None, offer: Offer) -> list[str]:
    on_gpu = (spec is None or spec.device != "cpu") and bool(offer.get("GPU"))
    devices = machine["gpus"] if on_gpu else []
    return [f"{each['name']} ({', '.join(each['native'])})" for each in devices or [machine["cpu"]]]
