"""Checks the nodes of a cluster: each alone, and whether they fit together."""

from __future__ import annotations

import contextlib
import functools
import os
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.doctor.container import container_findings, operator_findings, store_findings
from orchestrator.doctor.devices import Offer, device_findings, idle_findings, wants_gpu
from orchestrator.doctor.finding import Finding, error, ok, warning
from orchestrator.doctor.inputs import data_of, encoder_finding
from orchestrator.doctor.local import cache_folder
from orchestrator.doctor.machine import describe, machine_findings
from orchestrator.doctor.precision import precision_findings
from orchestrator.preflight.checks import examples
from orchestrator.preflight.precision import needs_hardware
from trainer.storage.folder import StoreError, is_uri
from trainer.storage.open import open_folder

if TYPE_CHECKING:
    from orchestrator.runner.nodes import Node
    from orchestrator.spec import SweepSpec

#: Seconds by which a node's clock may be off.
_CLOCK_S = 1.0
#: We query each clock this often and use the fastest reply.
_QUERIES = 5

#: The resource by which Ray names the bytes of a node's object store.
_STORE = "object_store_memory"

#: Calls a function with arguments on a node; returns an exception if there is no answer.
Call = Callable[..., Any]


def cluster_findings(
    spec: SweepSpec | None, out: str, address: str, insecure: bool
) -> Iterator[Finding]:
    """Join the cluster, check every node, and leave."""
    from orchestrator import runner
    from orchestrator.runner.nodes import nodes, tell, witnesses

    try:
        with runner.joined(address, insecure):
            members = nodes()
            yield ok("cluster", f"{address} answers, {_count(members)}")
            for node in members:
                if node.draining:
                    remedy = "nothing to do: no new trial is placed on it"
                    yield warning("draining", "is about to leave", remedy, node=node.name)
            fit, findings = _fitting(members, address, insecure)
            yield from findings
            if spec is not None:
                yield from _resources(spec, fit)
                yield from _precision(spec, out)
            with witnesses(fit, os.getcwd()) as placed:
                calls = {n.name: functools.partial(tell, witness) for n, witness in placed.items()}
                offers = {node.name: node.resources for node in placed}
                yield from node_findings(calls, spec, offers)
                yield from shared_findings(calls, out)
    except runner.ClusterError as problem:
        yield error("cluster", str(problem), "see docs/guide/cluster.md")


def node_findings(
    calls: Mapping[str, Call], spec: SweepSpec | None, offers: Mapping[str, Offer] | None = None
) -> Iterator[Finding]:
    """Check each node's hardware, clock and inputs, and whether the nodes are of one kind.

    Args:
        calls: node -> how to call a function there.
        offers: node -> the resources that it offers to Ray.
    """
    offers = offers or {}
    machines: dict[str, dict[str, Any]] = {}
    inputs = _Inputs(spec)
    for name, call in calls.items():
        machine = call(describe, cache_folder(spec))
        if isinstance(machine, Exception):
            remedy = "check that the project is installed there as it is here"
            yield error("node", f"does not answer: {_line(machine)}", remedy, node=name)
            continue
        machines[name] = machine
        offer = offers.get(name, {})
        gpus = offer.get("GPU", 0.0)
        on_gpu = wants_gpu(spec) and bool(gpus)
        yield from machine_findings(machine, name, on_gpu=on_gpu, offered=gpus)
        yield from store_findings(offer.get(_STORE, 0.0), machine["shm_size"], name)
        yield from container_findings(machine["container"], name)
        yield from idle_findings(spec, offer, name)
        yield clock_finding(call, name)
        yield from inputs.findings(call, name)
    yield from device_findings(machines, offers, spec)
    yield from operator_findings({name: about["container"] for name, about in machines.items()})


class _Inputs:
    """What a sweep reads, compared between this machine and a node."""

    def __init__(self, spec: SweepSpec | None):
        self._configs = _data_configs(spec)
        self._here = [data_of(config) for config in self._configs]
        every = examples(spec) if spec is not None else ()
        self._encoders = list(dict.fromkeys(config.encoder for config in every))

    def findings(self, call: Call, node: str) -> Iterator[Finding]:
        """Check that a node finds the same data as this machine, and the encoders."""
        alike = 0
        for config, ours in zip(self._configs, self._here, strict=True):
            theirs = call(data_of, config)
            alike += theirs == ours and not ours.startswith("missing")
            if theirs != ours:
                same = f"finds other data than this machine under {config['data']['root']}"
                text = str(theirs) if str(theirs).startswith("missing") else same
                remedy = "put the same files under the same path on every node"
                yield error("data", text, remedy, node=node)
        if alike and alike == len(self._configs):
            yield ok("data", "the same files as on this machine", node=node)
        for encoder in self._encoders:
            found = call(encoder_finding, encoder)
            if isinstance(found, Exception):
                text, remedy = f"{encoder}: {_line(found)}", "install it on every node"
                yield error("encoder", text, remedy, node=node)
            elif found.level != "ok":
                yield replace(found, node=node)


def clock_finding(call: Call, name: str) -> Finding:
    """How far a node's clock is off; the uncertainty is half the travel time of the reply."""
    best = (float("inf"), 0.0)
    for _ in range(_QUERIES):
        before, start = time.time(), time.monotonic()
        theirs = call(time.time)
        took = time.monotonic() - start
        if isinstance(theirs, Exception):
            return error("clock", f"no answer: {_line(theirs)}", "check the node", node=name)
        best = min(best, (took / 2, theirs - (before + took / 2)))
    uncertainty, off = best
    text = f"off by {off:+.3f} s (± {uncertainty:.3f} s)"
    if abs(off) - uncertainty > _CLOCK_S:
        return error("clock", text, "set it by NTP (chrony, systemd-timesyncd)", node=name)
    return ok("clock", text, node=name)


def shared_findings(calls: Mapping[str, Call], out: str) -> Iterator[Finding]:
    """Check that every node can read what each node writes to the folder of all sweeps."""
    folder, tag = str(out), f".orch-doctor-{uuid.uuid4().hex}"
    places: dict[str, Call] = {"this machine": _here, **calls}
    names = {writer: f"{tag}-{number}" for number, writer in enumerate(places)}
    problems: dict[str, list[str]] = {}
    try:
        for writer, call in places.items():
            answer = call(put, folder, names[writer])
            if isinstance(answer, Exception):
                problems.setdefault(writer, []).append(f"cannot write there: {_line(answer)}")
        written = {writer: name for writer, name in names.items() if writer not in problems}
        for reader, call in places.items():
            answer = call(seen, folder, list(names.values()))
            if isinstance(answer, Exception):
                problems.setdefault(reader, []).append(f"cannot read there: {_line(answer)}")
                continue
            blind = [writer for writer, name in written.items() if name not in answer]
            if blind:
                text = f"does not see what {', '.join(blind)} wrote"
                problems.setdefault(reader, []).append(text)
    finally:
        for call in places.values():
            call(drop, folder, list(names.values()))
    for place, texts in problems.items():
        remedy = "mount one shared folder there on every node, or use --out s3://..."
        where = "" if place == "this machine" else place
        yield error("shared out", f"{folder}: {'; '.join(texts)}", remedy, node=where)
    if not problems:
        yield ok("shared out", f"{folder} is one folder for this machine and {_count(calls)}")


def put(out: str, name: str) -> None:
    """Write a file into a folder, which must exist unless it is on an object store."""
    if not is_uri(out) and not Path(out).is_dir():
        raise FileNotFoundError(f"there is no folder {out}")
    open_folder(out).write(name, name.encode())


def seen(out: str, names: list[str]) -> list[str]:
    """Those of these files that are complete in the folder."""
    folder = open_folder(out)
    return [name for name in names if folder.read(name) == name.encode()]


def drop(out: str, names: list[str]) -> None:
    """Delete these files."""
    folder = open_folder(out)
    for name in names:
        with contextlib.suppress(OSError, StoreError):
            folder.delete(name)


def _fitting(members: list[Node], address: str, insecure: bool) -> tuple[list[Node], list[Finding]]:
    """The nodes with the same versions as this machine, and the findings on all nodes."""
    from orchestrator.runner.nodes import ask, differences, versions

    ours = versions()()["versions"]
    fit, findings, unguarded = [], [], []
    for node, answer in ask([n for n in members if not n.draining], versions()).items():
        if isinstance(answer, Exception):
            text = f"does not answer: {_line(answer)}"
            findings.append(error("node", text, "read its Ray logs", node=node.name))
            continue
        lines = differences(node.name, answer["versions"], ours)
        remedy = "install the same versions on all nodes (constraints.txt)"
        findings += [error("versions", line, remedy, node=node.name) for line in lines]
        fit += [] if lines else [node]
        unguarded += [] if answer["token"] else [node.name]
    if unguarded:
        level = warning if insecure else error
        text = f"{address} asks for none and runs anyone's code ({', '.join(unguarded)})"
        findings.append(level("token", text, "start the cluster with RAY_AUTH_MODE=token"))
    elif fit:
        findings.append(ok("token", "set, and every node asks for it"))
    if fit:
        text = ", ".join(f"{package} {version}" for package, version in ours.items())
        findings.append(ok("versions", f"{len(fit)} of {len(members)} nodes have {text}"))
    return fit, findings


def _resources(spec: SweepSpec, fit: list[Node]) -> Iterator[Finding]:
    from orchestrator.runner.growing import has_autoscaler
    from orchestrator.runner.nodes import places_on

    wanted = spec.resources
    places = sum(places_on(node, wanted) for node in fit)
    room = f"room for {places} trials of {wanted.cpu:g} CPUs and {wanted.gpu:g} GPUs"
    if places:
        yield ok("resources", f"{room}; max_concurrent is {wanted.max_concurrent}")
    elif has_autoscaler():
        remedy = "the cluster's autoscaler is asked for a node when the sweep starts"
        yield warning("resources", room, remedy)
    else:
        remedy = "add a node that is large enough, or --set resources.cpu=... resources.gpu=..."
        yield error("resources", room, remedy)


def _precision(spec: SweepSpec, out: str) -> Iterator[Finding]:
    """Check precision where it depends on the nodes, as the start of a sweep does."""
    from orchestrator import runner

    needed = needs_hardware(spec)
    device = spec.device
    hardware = runner.trial_hardware(spec.resources, device) if needed else []
    if hardware or not needed:
        yield from precision_findings(spec, out, hardware)
    else:
        remedy = "a sweep asks once a node has room; or choose precision: fp32"
        yield warning("precision", "no node with room for a trial reports its hardware", remedy)


def _data_configs(spec: SweepSpec | None) -> list[dict[str, Any]]:
    """One config for each set of files that the sweep reads."""
    configs: dict[str, dict[str, Any]] = {}
    for config in examples(spec) if spec is not None else ():
        plain = config.to_dict()
        if not all(map(config.generates, config.tasks)):
            configs.setdefault(str([plain["data"], plain["tasks"]]), plain)
    return list(configs.values())


def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (OSError, StoreError) as problem:
        return problem


def _count(nodes: Sized) -> str:
    return "1 node" if len(nodes) == 1 else f"{len(nodes)} nodes"


def _line(problem: Exception) -> str:
    """The last line of a node's exception, which follows its traceback."""
    return str(problem).strip().rpartition("\n")[2].strip() or type(problem).__name__
