"""Where a trial runs: device, precision, memory."""

from __future__ import annotations

import contextlib
import resource
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def choose_device(name: str) -> torch.device:
    """`auto`: the GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def resolve_precision(name: str, device: torch.device) -> str:
    """`auto`: bf16 where the device multiplies it natively, else fp32."""
    if name != "auto":
        return name
    checks: dict[str, Callable[[], bool]] = {
        "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        "cpu": lambda: bool(torch.cpu.get_capabilities().get("avx512_bf16", False)),
    }
    return "bf16" if checks.get(device.type, lambda: False)() else "fp32"


def reset_peak_memory(device: torch.device) -> None:
    """Let `peak_memory_mb` count from now on: a process may train one trial after another."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Most memory since `reset_peak_memory`, in MB: the device's (CUDA), or this process's
    resident set (CPU; where that cannot be reset, since the process began)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
