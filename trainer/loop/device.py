"""A trial's device, precision and memory."""

from __future__ import annotations

import contextlib
import platform
import resource
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trainer.config.choices import EMULATED_BF16, PRECISIONS


def choose_device(name: str) -> torch.device:
    """The device of that name; `auto` is the GPU if there is one."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(name)


def multiplies_bf16(device: torch.device) -> bool:
    """Whether the device has instructions for products of bf16 numbers.

    Without them the products are emulated, and a training step takes about 20 times as long.
    """
    if device.type == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(capabilities.get("avx512_bf16", False))


#: The encoder's number format in each precision.
DTYPES = dict(zip(PRECISIONS, (torch.float32, torch.bfloat16), strict=True))


class PrecisionError(ValueError):
    """A device would emulate the precision; `remedy` says what to do."""

    def __init__(self, problem: str, remedy: str):
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Hardware:
    """A device for trials: its kind (`cpu`, `cuda`), and whether it multiplies bf16 natively.

    `host` names another machine and is empty for this one.
    """

    kind: str
    native_bf16: bool
    host: str = ""

    def __str__(self) -> str:
        unit = "GPU" if self.kind == "cuda" else "CPU"
        return f"the {unit} of {self.host}" if self.host else f"this {unit}"

    @property
    def capability(self) -> str:
        """`this CPU does not multiply bf16 natively`"""
        return f"{self} {'multiplies' if self.native_bf16 else 'does not multiply'} bf16 natively"


def hardware_of(device: torch.device) -> Hardware:
    """A device of this machine."""
    return Hardware(device.type, multiplies_bf16(device))


def resolve_precision(name: str, device: torch.device, kept: str = "") -> str:
    """A trial's number format, `fp32` or `bf16`; raises `PrecisionError` if it would be emulated.

    `auto` is bf16 if the device multiplies it natively, else fp32.  `bf16-emulated` is bf16 on
    every device, even if that is slow.

    Args:
        name: the config's `precision`.
        kept: what `auto` became when the trial or its sweep started; empty if it starts now.
    """
    here = replace(hardware_of(device), host=f"this host ({platform.node()})")
    precision = name
    if name == EMULATED_BF16:
        precision = "bf16"
    elif name == "auto":
        precision = kept or ("bf16" if here.native_bf16 else "fp32")
    if kept and precision != kept:
        problem = f"precision: {name}: the sweep of this trial uses {kept}"
        raise PrecisionError(problem, "its trials must not mix two precisions")
    if precision == "bf16" and name != EMULATED_BF16 and not here.native_bf16:
        raise kept_elsewhere(here) if name == "auto" else would_emulate(here)
    return precision


def would_emulate(lacking: Hardware) -> PrecisionError:
    """The error for `precision: bf16` on this device."""
    return PrecisionError(
        f"precision: bf16: {lacking.capability}; a step would take about 20 times as long",
        "use precision: auto (fp32 there), or precision: bf16-emulated if it must be bf16",
    )


def kept_elsewhere(lacking: Hardware) -> PrecisionError:
    """The error for `precision: auto` that became bf16 on another host."""
    return PrecisionError(
        f"precision: auto became bf16 at the first start, and {lacking.capability}; "
        "results of two precisions do not compare",
        "continue on a host that multiplies bf16 natively, or start again here under another "
        "name or folder (a sweep: --fresh)",
    )


def explain_precision(name: str, precision: str, hardware: Sequence[Hardware]) -> str:
    """`fp32 (auto; this CPU does not multiply bf16 natively)`

    Args:
        name: the config's `precision`.
        precision: its result (`resolve_precision`).
        hardware: all devices of the trials; empty if unknown.
    """
    lacking = next((each for each in hardware if not each.native_bf16), None)
    reason = "every node multiplies bf16 natively"
    if lacking or len(hardware) == 1:
        reason = (lacking or hardware[0]).capability
    if name == "auto":
        explains = bool(hardware) and (precision == "fp32") == (lacking is not None)
        return f"{precision} (auto; {reason if explains else 'decided at the first start'})"
    if name == EMULATED_BF16:
        slow = ": a step takes about 20 times as long" if lacking else ""
        return f"{precision} ({name}; {reason}{slow})" if hardware else f"{precision} ({name})"
    return f"{precision} (as configured)"


def explain_device(name: str, kind: str) -> str:
    """`cpu (auto; no GPU here)`; `name` is the config's `device`."""
    if name != "auto":
        return f"{kind} (as configured)"
    return f"{kind} (auto; {'a GPU is here' if kind == 'cuda' else 'no GPU here'})"


def reset_peak_memory(device: torch.device) -> None:
    """Reset `peak_memory_mb`, because a process may train several trials in turn."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return
    with contextlib.suppress(OSError):  # not Linux, or not allowed
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory since `reset_peak_memory` in MB: of the GPU, or on the CPU of this process's
    resident set (since the start of the process if the system cannot reset it)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return kilobytes / (2**20 if sys.platform == "darwin" else 2**10)
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 2**10
