"""Describes a machine in plain values, which a cluster's node can send, and checks it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from packaging.requirements import Requirement

from orchestrator.doctor.container import read_container
from orchestrator.doctor.finding import Finding, error, ok, warning
from orchestrator.doctor.gpu_driver import driver_findings, read_driver
from trainer.loop.device import native_precisions
from trainer.storage.folder import in_words
from trainer.storage.open import open_folder

DISTRIBUTION = "orch-mtl"
_CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
#: Packages that are shown if all is well.
_SHOWN = ("torch", "ray", "optuna", "mlflow")
_MEMORY_BYTES = 2 * 10**9  # torch and Ray's daemons, and a small trial
_DISK_BYTES = 2 * 10**9
#: Ray's object store needs about half of this; without room in /dev/shm it uses a disk.
_SHM_BYTES = 160 * 10**6


def describe(cache: str) -> dict[str, Any]:
    """Describe this machine; sizes are in bytes, `cpus` are those that this process may use.

    Args:
        cache: folder of the tokenised corpora.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in (DISTRIBUTION, *floors(), "numpy")},
        "cpus": _cpus(),
        "memory": _memory(),
        "memory_free": min(_memory(), psutil.virtual_memory().available),
        "cpu": {"name": _cpu_model(), "native": _precisions(torch.device("cpu"))},
        "gpus": _gpus(),
        "driver": read_driver(),
        "container": read_container(),
        "cache": str(Path(cache).expanduser()),
        "cache_free": open_folder(Path(cache).expanduser()).free(),
        "shm_free": open_folder("/dev/shm").free() if Path("/dev/shm").is_dir() else None,
        "shm_size": shutil.disk_usage("/dev/shm").total if Path("/dev/shm").is_dir() else None,
    }


def floors() -> dict[str, Requirement]:
    """Package -> the required version; empty if the project is not installed."""
    try:
        lines = importlib.metadata.requires(DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return {}
    wanted = [Requirement(line) for line in lines]
    return {each.name: each for each in wanted if each.marker is None}


def machine_findings(
    machine: dict[str, Any], node: str = "", *, on_gpu: bool = False, offered: float = 0
) -> Iterator[Finding]:
    """Check a machine.

    Args:
        on_gpu: whether trials shall use a GPU there.
        offered: the GPUs that it offers to Ray.
    """
    yield from _package_findings(machine, node)
    cpus, memory = machine["cpus"], machine["memory"]
    yield ok("cpu", f"{cpus} usable", node=node)
    free = f"{in_words(machine['memory_free'])} of {in_words(memory)} free"
    if machine["memory_free"] < _MEMORY_BYTES:
        yield warning("memory", free, "end other programs, or run fewer trials at once", node=node)
    else:
        yield ok("memory", free, node=node)
    gpus = [f"{gpu['name']} with {in_words(gpu['memory'])}" for gpu in machine["gpus"]]
    yield ok("gpu", ", ".join(gpus) or "none", node=node)
    yield from driver_findings(
        machine["driver"], machine["gpus"], node, wanted=on_gpu, offered=offered
    )
    yield disk_finding(
        "cache", machine["cache"], machine["cache_free"], "data.cache or ORCH_CACHE", node
    )
    shm = machine["shm_free"]
    if shm is not None:
        free = f"{in_words(shm)} free in /dev/shm"
        remedy = "give a container more: --shm-size=1g"
        enough = shm >= _SHM_BYTES
        yield ok("shm", free, node=node) if enough else warning("shm", free, remedy, node=node)


def _package_findings(machine: dict[str, Any], node: str) -> Iterator[Finding]:
    versions, wanted, tested = machine["packages"], floors(), _tested()
    wrong, other = [], []
    for name, requirement in wanted.items():
        version = versions.get(name, "")
        if not version or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{name} {version or 'missing'} (needs {requirement.specifier})")
        elif name in tested and version.partition("+")[0] != tested[name]:
            other.append(f"{name} {version} (tested with {tested[name]})")
    remedy = "pip install -c constraints.txt -e ."
    if not wanted:
        found = f"{DISTRIBUTION} is not installed, so its requirements are unknown"
        yield warning("packages", found, remedy, node=node)
    if wrong:
        yield error("packages", ", ".join(wrong), remedy, node=node)
    if other:
        yield warning("packages", ", ".join(other), remedy, node=node)
    if wanted and not wrong and not other:
        found = ", ".join(f"{name} {versions[name]}" for name in _SHOWN if versions.get(name))
        yield ok("packages", f"python {machine['python']}, {found}", node=node)


def disk_finding(what: str, place: str, free: int | None, option: str, node: str = "") -> Finding:
    """Check the free space of the folder that `option` sets."""
    if free is None:
        return ok(what, f"{place}, free space unknown", node=node)
    found = f"{place}, {in_words(free)} free"
    if free < _DISK_BYTES:
        return warning(what, found, f"free some space, or choose another {option}", node=node)
    return ok(what, found, node=node)


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _tested() -> dict[str, str]:
    """Package -> the version in constraints.txt; empty if that file was not installed."""
    try:
        lines = _CONSTRAINTS.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return dict(line.split("==", 1) for line in lines if "==" in line and not line.startswith("#"))


def _cpus() -> int:
    """The CPUs that this process may use, limited by its container's CPU time."""
    cpus = len(psutil.Process().cpu_affinity()) if psutil.LINUX else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        cpus = min(cpus, max(1, int(quota) // int(period)))
    return cpus


def _memory() -> int:
    total = int(psutil.virtual_memory().total)
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return total


def _gpus() -> list[dict[str, Any]]:
    return [_gpu(number) for number in range(torch.cuda.device_count())]


def _gpu(number: int) -> dict[str, Any]:
    about = torch.cuda.get_device_properties(number)
    with torch.cuda.device(number):
        native = _precisions(torch.device("cuda", number))
    capability = (about.major, about.minor)
    return {
        "name": about.name, "memory": about.total_memory, "capability": capability,
        "native": native,
    }  # fmt: skip


def _precisions(device: torch.device) -> list[str]:
    return sorted(native_precisions(device))


def _cpu_model() -> str:
    """The name that the processor gives itself."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
