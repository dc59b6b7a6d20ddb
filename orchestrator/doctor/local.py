"""Checks this machine: hardware, packages, output folder, security, listening programs."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import psutil
import torch

from orchestrator import environment
from orchestrator.doctor.devices import idle_findings, wants_gpu
from orchestrator.doctor.finding import Finding, error, ok, warning
from orchestrator.doctor.machine import describe, disk_finding, machine_findings
from orchestrator.doctor.precision import precision_findings
from orchestrator.errors import SweepError
from orchestrator.preflight.checks import check_machine, check_out
from orchestrator.preflight.precision import this_machine

if TYPE_CHECKING:
    from orchestrator.spec import SweepSpec

#: Names of programs that run code or show results for anyone who can connect to them.
_PROGRAMS = (
    "raylet",
    "gcs_server",
    "ray::",
    "ray/dashboard",
    "ray/_private",
    "mlflow",
    "optuna-dash",
)
_SHOWN = 4


def local_findings(spec: SweepSpec | None, out: str, address: str | None) -> Iterator[Finding]:
    """Check this machine; without `address`, also whether the sweep can train here."""
    on_gpu = address is None and wants_gpu(spec)
    yield from machine_findings(describe(cache_folder(spec)), on_gpu=on_gpu)
    try:
        folder = check_out(out)
        yield disk_finding("out", out, folder.free(), "--out")
    except SweepError as problem:
        yield error("out", str(problem), "choose a writable folder with --out")
    if address is not None:
        return
    if spec is not None:
        yield from _room(spec)
        yield from precision_findings(spec, out, [this_machine(spec)])
    yield ok("token", "every sweep gives its own Ray on this machine a token")
    acting = environment.note().removeprefix("environment: ")
    yield ok("environment", acting or "no variable changes what trials compute")
    yield listening_finding(psutil.process_iter())


def cache_folder(spec: SweepSpec | None) -> str:
    """The folder of the tokenised corpora, as `trainer.data.sources` chooses it."""
    chosen = spec.base_value("data.cache") if spec is not None else None
    return str(chosen or os.environ.get("ORCH_CACHE") or "~/.cache/orch-mtl")


def listening_finding(processes: Iterable[psutil.Process]) -> Finding:
    """Check for Ray, MLflow and dashboards of this user that answer to other machines."""
    ports = sorted({text for process in processes for text in _open_ports(process)})
    if not ports:
        return ok("listening", "nothing beyond loopback")
    more = f" and {len(ports) - _SHOWN} more" if len(ports) > _SHOWN else ""
    return warning(
        "listening",
        f"beyond loopback: {', '.join(ports[:_SHOWN])}{more}",
        "end what nobody should reach; protect the rest with a token or a password",
    )


def _room(spec: SweepSpec) -> Iterator[Finding]:
    wanted, cpus, gpus = spec.resources, os.cpu_count() or 1, torch.cuda.device_count()
    try:
        check_machine(spec, None)
    except SweepError as problem:
        yield error("resources", str(problem), "use another machine or change resources")
        return
    at_once = min(wanted.max_concurrent, max(1, wanted.places(cpus, gpus)))
    yield ok("resources", f"{at_once} of at most {wanted.max_concurrent} trials at once")
    yield from idle_findings(spec, {"CPU": cpus, "GPU": gpus})


def _open_ports(process: psutil.Process) -> Iterator[str]:
    try:
        if process.uids().real != os.getuid():
            return
        line = " ".join(process.cmdline())
        if not any(name in line for name in _PROGRAMS):
            return
        connections = process.net_connections("inet")
    except psutil.Error:  # the process has just ended
        return
    for connection in connections:
        host = connection.laddr.ip if connection.laddr else ""
        if connection.status == psutil.CONN_LISTEN and not _is_loopback(host):
            yield f"{process.name()} (process {process.pid}) on port {connection.laddr.port}"


def _is_loopback(host: str) -> bool:
    return ipaddress.ip_address(host.removeprefix("::ffff:")).is_loopback
