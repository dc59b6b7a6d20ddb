"""What a trial ran on: versions, git commit, device."""

from __future__ import annotations

import functools
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

_PACKAGES = ("orch-mtl", "torch", "numpy", "pyarrow", "tokenizers", "safetensors")


def describe_run(device: torch.device) -> dict[str, Any]:
    """Keys for config.json: `versions`, `git_commit`, `device`, `gpu_uuid`, `threads`, `host`."""
    return {
        "versions": versions(),
        "git_commit": git_commit(),
        "device": device_name(device),
        **({"gpu_uuid": gpu_uuid(device)} if device.type == "cuda" else {}),
        "threads": torch.get_num_threads(),
        "host": platform.node(),
    }


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide the results."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue  # the trainer also runs from a checkout that is not installed
    return versions


@functools.cache
def git_commit() -> str:
    """The commit of this checkout, with `-dirty` if files changed; empty if unknown."""
    command = ["git", "-C", str(Path(__file__).parent), "describe"]
    command += ["--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()


def gpu_uuid(device: torch.device) -> str:
    """The GPU itself, among others of its kind: `GPU-<uuid>`; empty if torch cannot tell."""
    uuid = getattr(torch.cuda.get_device_properties(device), "uuid", None)
    return "" if uuid is None else f"GPU-{uuid}"


def device_name(device: torch.device) -> str:
    """`cpu: <model>` or `cuda: <model>`."""
    if device.type == "cuda":
        return f"cuda: {torch.cuda.get_device_name(device)}"
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{device.type}: {models[0] if models else platform.processor() or platform.machine()}"
