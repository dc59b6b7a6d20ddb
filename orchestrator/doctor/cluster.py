"""The nodes of a cluster: each as this machine was looked at, and whether they fit together."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.doctor.finding import Finding, error, ok, warning
from orchestrator.doctor.inputs import data_of
from orchestrator.doctor.local import cache_folder
from orchestrator.doctor.machine import describe, machine_findings
from orchestrator.doctor.precision import precision_findings
from orchestrator.preflight.checks import examples
from orchestrator.preflight.precision import needs_hardware
from orchestrator.spec.models import ResourcesSpec
from trainer.storage.folder import StoreError, is_uri
from trainer.storage.open import open_folder

if TYPE_CHECKING:
    from orchestrator.runner.nodes import Node
    from orchestrator.spec import SweepSpec

#: Seconds that a node's clock may be off.
_CLOCK_S = 1.0
#: How often a clock is asked; the quickest answer counts.
_ASKED = 5

#: Has a node's witness call a function with arguments; an exception where there is no answer.
Tell = Callable[..., Any]


def cluster_findings(
    spec: SweepSpec | None, out: str, address: str, insecure: bool
) -> Iterator[Finding]:
    """Joins the cluster, looks at every node, and leaves it."""
    from orchestrator import runner
    from orchestrator.runner.nodes import nodes, tell, witnesses

    try:
        with runner.joined(ResourcesSpec(), address, insecure):
            found = nodes()
            yield ok("cluster", f"{address} answers, {_count(found)}")
            for node in found:
                if node.draining:
                    remedy = "nothing is placed on it any more; no remedy is needed"
                    yield warning("draining", "is about to go", remedy, node=node.name)
            fit, findings = _fitting(found, address, insecure)
            yield from findings
            if spec is not None:
                yield from _resources(spec, fit)
                yield from _precision(spec, out)
            with witnesses(fit, os.getcwd()) as placed:
                asked = {node.name: _teller(tell, witness) for node, witness in placed.items()}
                yield from node_findings(asked, spec)
                yield from shared_findings(asked, out)
    except runner.ClusterError as problem:
        yield error("cluster", str(problem), "see docs/guide/cluster.md")


def node_findings(asked: dict[str, Tell], spec: SweepSpec | None) -> Iterator[Finding]:
    """Each node's parts, its clock, and whether it finds the data that this machine finds."""
    configs = _data_configs(spec)
    here = [data_of(config) for config in configs]
    for name, tell in asked.items():
        machine = tell(describe, cache_folder(spec))
        if isinstance(machine, Exception):
            remedy = "see that the project is installed there as it is here"
            yield error("node", f"does not answer: {_line(machine)}", remedy, node=name)
            continue
        yield from machine_findings(machine, name)
        yield clock_finding(tell, name)
        for config, ours in zip(configs, here, strict=True):
            theirs = tell(data_of, config)
            if theirs != ours:
                same = f"finds other data than this machine under {config['data']['root']}"
                text = str(theirs) if str(theirs).startswith("missing") else same
                remedy = "put the same files under the same path on every node"
                yield error("data", text, remedy, node=name)


def clock_finding(tell: Tell, name: str) -> Finding:
    """How far a node's clock is off, as far as the time that an answer takes allows to say."""
    best = (float("inf"), 0.0)
    for _ in range(_ASKED):
        before, begun = time.time(), time.monotonic()
        theirs = tell(time.time)
        took = time.monotonic() - begun
        if isinstance(theirs, Exception):
            return error("clock", f"no answer: {_line(theirs)}", "look at the node", node=name)
        best = min(best, (took / 2, theirs - (before + took / 2)))
    doubt, off = best
    found = f"{off:+.3f} s (within {doubt:.3f} s)"
    if abs(off) - doubt > _CLOCK_S:
        return error("clock", found, "set it by NTP (chrony, systemd-timesyncd)", node=name)
    return ok("clock", found, node=name)


def shared_findings(asked: dict[str, Tell], out: str) -> Iterator[Finding]:
    """Whether what each node writes to the folder of all sweeps is read by all the others."""
    folder, tag = str(out), f".orch-doctor-{uuid.uuid4().hex}"
    places: dict[str, Tell] = {"this machine": _here, **asked}
    names = {writer: f"{tag}-{number}" for number, writer in enumerate(places)}
    problems: dict[str, list[str]] = {}
    try:
        for writer, tell in places.items():
            answer = tell(put, folder, names[writer])
            if isinstance(answer, Exception):
                problems.setdefault(writer, []).append(f"cannot write there: {_line(answer)}")
        written = {writer: name for writer, name in names.items() if writer not in problems}
        for reader, tell in places.items():
            answer = tell(seen, folder, list(names.values()))
            if isinstance(answer, Exception):
                problems.setdefault(reader, []).append(f"cannot read there: {_line(answer)}")
                continue
            blind = [writer for writer, name in written.items() if name not in answer]
            if blind:
                text = f"does not see what {', '.join(blind)} wrote"
                problems.setdefault(reader, []).append(text)
    finally:
        for tell in places.values():
            tell(drop, folder, list(names.values()))
    for place, texts in problems.items():
        remedy = "mount one shared folder there on every node, or use --out s3://..."
        where = "" if place == "this machine" else place
        yield error("shared out", f"{folder}: {'; '.join(texts)}", remedy, node=where)
    if not problems:
        nodes = "1 node" if len(asked) == 1 else f"{len(asked)} nodes"
        yield ok("shared out", f"{folder} is one folder for this machine and {nodes}")


def put(out: str, name: str) -> None:
    """Write a file into a folder that must be there, unless it is on a store."""
    if not is_uri(out) and not Path(out).is_dir():
        raise FileNotFoundError(f"there is no folder {out}")
    open_folder(out).write(name, name.encode())


def seen(out: str, names: list[str]) -> list[str]:
    """Which of these files are in the folder, whole."""
    folder = open_folder(out)
    return [name for name in names if folder.read(name) == name.encode()]


def drop(out: str, names: list[str]) -> None:
    folder = open_folder(out)
    for name in names:
        with contextlib.suppress(OSError, StoreError):
            folder.delete(name)


def _fitting(found: list[Node], address: str, insecure: bool) -> tuple[list[Node], list[Finding]]:
    """The nodes that run what this machine runs, and what is to be said of all."""
    from orchestrator.runner.nodes import ask, differences, versions

    ours = versions()()["versions"]
    fit, findings, unguarded = [], [], []
    for node, answer in ask([n for n in found if not n.draining], versions()).items():
        if isinstance(answer, Exception):
            text = f"does not answer: {_line(answer)}"
            findings.append(error("node", text, "look at its Ray logs", node=node.name))
            continue
        lines = differences(node.name, answer["versions"], ours)
        remedy = "install the same versions on all nodes (constraints.txt)"
        findings += [error("versions", line, remedy, node=node.name) for line in lines]
        fit += [] if lines else [node]
        unguarded += [] if answer["token"] else [node.name]
    if unguarded:
        level = warning if insecure else error
        text = f"{address} asks for none and runs anybody's code ({', '.join(unguarded)})"
        findings.append(level("token", text, "start the cluster with RAY_AUTH_MODE=token"))
    elif fit:
        findings.append(ok("token", "set, and asked for by every node"))
    if fit:
        text = ", ".join(f"{package} {version}" for package, version in ours.items())
        findings.append(ok("versions", f"{len(fit)} of {len(found)} nodes have {text}"))
    return fit, findings


def _resources(spec: SweepSpec, fit: list[Node]) -> Iterator[Finding]:
    wanted = spec.resources
    places = sum(
        wanted.places(node.resources.get("CPU", 0.0), node.resources.get("GPU", 0.0))
        for node in fit
    )
    found = f"room for {places} trials of {wanted.cpu:g} CPUs and {wanted.gpu:g} GPUs"
    if places:
        yield ok("resources", f"{found}; max_concurrent is {wanted.max_concurrent}")
    else:
        remedy = "add a node that is large enough, or --set resources.cpu=... resources.gpu=..."
        yield error("resources", found, remedy)


def _precision(spec: SweepSpec, out: str) -> Iterator[Finding]:
    """Asked where precision depends on the nodes, as the sweep's start asks."""
    from orchestrator import runner

    asks = needs_hardware(spec)
    hardware = runner.trial_hardware(spec.resources, str(spec.base_value("device"))) if asks else []
    if hardware or not asks:
        yield from precision_findings(spec, out, hardware)
    else:
        remedy = "free a node, or choose precision: fp32"
        yield warning("precision", "no node with room for a trial says what it can", remedy)


def _data_configs(spec: SweepSpec | None) -> list[dict[str, Any]]:
    """One config for each set of files that the sweep reads."""
    found: dict[str, dict[str, Any]] = {}
    for config in examples(spec) if spec is not None else ():
        plain = config.to_dict()
        if not all(map(config.generates, config.tasks)):
            found.setdefault(str([plain["data"], plain["tasks"]]), plain)
    return list(found.values())


def _teller(tell: Callable[..., Any], witness: Any) -> Tell:
    return lambda function, *arguments: tell(witness, function, *arguments)


def _here(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return function(*arguments)
    except (OSError, StoreError) as problem:
        return problem


def _count(found: list[Node]) -> str:
    return "1 node" if len(found) == 1 else f"{len(found)} nodes"


def _line(problem: Exception) -> str:
    """The last line of a node's exception: what went wrong, behind its traceback."""
    return str(problem).strip().rpartition("\n")[2].strip() or type(problem).__name__
