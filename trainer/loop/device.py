"""A trial's device, precision and memory."""

from __future__ import annotations

import contextlib
import platform
import resource
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from trainer.config.choices import EMULATED, PRECISIONS


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


#: The encoder's number format in each precision.  tf32 stores fp32 and rounds the factors of
#: products to 10 bits.
DTYPES = dict(
    zip(PRECISIONS, (torch.float32, torch.float32, torch.float16, torch.bfloat16), strict=True)
)
#: `auto` is the first of these that all devices multiply natively.
AUTO = ("bf16", "fp16", "fp32")
#: What emulated products cost; the figure is measured (docs/develop/log.md).
_EMULATED = {
    "bf16": "a step would take about 20 times as long",
    "fp16": "its products would be emulated",
}
#: The lowest compute capability with tensor cores for these formats.
_TENSOR_CORES = {"fp16": (7, 0), "tf32": (8, 0)}


def native_precisions(device: torch.device) -> frozenset[str]:
    """The precisions whose products the device has instructions for."""
    native = {"fp32"} | ({"bf16"} if multiplies_bf16(device) else set())
    if device.type == "cuda" and torch.cuda.is_available():
        here = torch.cuda.get_device_capability(device)
        native |= {name for name, lowest in _TENSOR_CORES.items() if here >= lowest}
    return frozenset(native)


def round_products(precision: str) -> None:
    """Let a GPU multiply fp32 numbers exactly, or as tf32.  It holds for the whole process."""
    torch.backends.cuda.matmul.fp32_precision = "tf32" if precision == "tf32" else "ieee"


@contextlib.contextmanager
def exact_products() -> Iterator[None]:
    """Within this context a GPU multiplies fp32 numbers exactly, also in a trial with tf32."""
    before = torch.backends.cuda.matmul.fp32_precision
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = before


class PrecisionError(ValueError):
    """A device would emulate the precision; `remedy` says what to do."""

    def __init__(self, problem: str, remedy: str):
        super().__init__(problem, remedy)
        self.problem, self.remedy = problem, remedy

    def __str__(self) -> str:
        return f"{self.problem}; {self.remedy}"


@dataclass(frozen=True)
class Hardware:
    """A device for trials: its kind (`cpu`, `cuda`), and what it multiplies natively.

    `host` names another machine and is empty for this one.
    """

    kind: str
    native: frozenset[str]
    host: str = ""

    def __str__(self) -> str:
        unit = "GPU" if self.kind == "cuda" else "CPU"
        return f"the {unit} of {self.host}" if self.host else f"this {unit}"

    def multiplies(self, precision: str) -> str:
        """`this CPU does not multiply bf16 natively`"""
        does = "multiplies" if precision in self.native else "does not multiply"
        return f"{self} {does} {precision} natively"


def hardware_of(device: torch.device) -> Hardware:
    """A device of this machine."""
    return Hardware(device.type, native_precisions(device))


def lacking(precision: str, hardware: Sequence[Hardware]) -> Hardware | None:
    """The first of these devices that would emulate the precision."""
    return next((each for each in hardware if precision not in each.native), None)


def auto_precision(hardware: Sequence[Hardware]) -> str:
    """What `precision: auto` becomes on these devices."""
    return next(name for name in AUTO if name == "fp32" or lacking(name, hardware) is None)


def resolve_precision(name: str, device: torch.device, kept: str = "") -> str:
    """A trial's number format, one of `PRECISIONS`.

    `auto` is the first of bf16, fp16 and fp32 that the device multiplies natively.  The names that
    end in `-emulated` are accepted by every device, even if that is slow.

    Args:
        name: the config's `precision`.
        kept: the format in which the trial or its sweep started; empty if it starts now.

    Raises `PrecisionError` if the device would emulate it.
    """
    here = replace(hardware_of(device), host=f"this host ({platform.node()})")
    precision = EMULATED.get(name, name)
    if name == "auto":
        precision = kept or auto_precision([here])
    if kept and precision != kept:
        problem = f"precision: {name}: the sweep of this trial uses {kept}"
        raise PrecisionError(problem, "its trials must not mix two precisions")
    if precision not in here.native and name not in EMULATED:
        raise kept_elsewhere(precision, here, name) if kept else would_emulate(precision, here)
    return precision


def would_emulate(precision: str, without: Hardware) -> PrecisionError:
    """The error for a precision by name on a device that does not multiply it natively."""
    problem = f"precision: {precision}: {without.multiplies(precision)}"
    auto = f"use precision: auto ({auto_precision([without])} there)"
    if (emulated := f"{precision}-emulated") not in EMULATED:
        return PrecisionError(problem, auto)
    return PrecisionError(
        f"{problem}; {_EMULATED[precision]}",
        f"{auto}, or precision: {emulated} if it must be {precision}",
    )


def kept_elsewhere(precision: str, without: Hardware, name: str = "auto") -> PrecisionError:
    """The error for a trial or a sweep that started in this precision on another host.

    Args:
        name: the config's `precision`.
    """
    began = "auto became" if name == "auto" else "it was"
    return PrecisionError(
        f"precision: {began} {precision} at the first start, and "
        f"{without.multiplies(precision)}; results of two precisions do not compare",
        f"continue on a host that multiplies {precision} natively, or start again here under "
        "another name or folder (a sweep: --fresh)"
        + ("" if name == "auto" else " with precision: auto"),
    )


def explain_precision(name: str, precision: str, hardware: Sequence[Hardware]) -> str:
    """`fp32 (auto; this CPU does not multiply bf16 natively)`

    Args:
        name: the config's `precision`.
        precision: its result (`resolve_precision`).
        hardware: all devices of the trials; empty if unknown.
    """
    if name == "auto":
        decided = bool(hardware) and precision == auto_precision(hardware)
        reason = _reason(AUTO[0], hardware) if decided else "decided at the first start"
        return f"{precision} (auto; {reason})"
    if name in EMULATED:
        slow = f": {_EMULATED[precision]}" if lacking(precision, hardware) else ""
        reason = f"; {_reason(precision, hardware)}{slow}" if hardware else ""
        return f"{precision} ({name}{reason})"
    return f"{precision} (as configured)"


def _reason(precision: str, hardware: Sequence[Hardware]) -> str:
    """Which device decides about the precision: the first without it, or all of them."""
    without = lacking(precision, hardware)
    if without or len(hardware) == 1:
        return (without or hardware[0]).multiplies(precision)
    return f"every node multiplies {precision} natively"


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
