"""Whether a machine's NVIDIA driver and GPUs can run the PyTorch that is installed there."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from orchestrator.doctor.finding import Finding, error, ok, warning
from orchestrator.errors import first_line

#: CUDA's major version -> the oldest driver for programs built with it (CUDA's release notes).
_OLDEST_DRIVER = {11: "450.80", 12: "525.60", 13: "580.65"}
_WHAT = "driver"
Version = tuple[int, int]


def read_driver() -> dict[str, Any]:
    """The driver of this machine and what PyTorch was built for, in plain values.

    Versions of CUDA and compute capabilities are pairs of numbers.
    """
    why = ""
    if torch.version.cuda and _device_files():
        try:
            torch.cuda.init()
        except (RuntimeError, AssertionError) as problem:
            why = first_line(problem)
    return {
        "torch": torch.__version__,
        "built_for": _pair(torch.version.cuda or ""),
        "kernels": _architectures("sm_"),
        "source": _architectures("compute_"),
        "devices": _device_files(),
        "driver": _driver_version(),
        "supports": _supported_cuda(),
        "problem": why,
    }


def driver_findings(
    found: dict[str, Any], gpus: list[dict[str, Any]], node: str = "", *,
    wanted: bool = False, offered: float = 0,
) -> Iterator[Finding]:  # fmt: skip
    """Check a driver against the PyTorch beside it; nothing where there is no GPU.

    Args:
        found: of `read_driver`.
        gpus: the GPUs that PyTorch sees, with `name` and `capability`.
        wanted: whether trials shall use a GPU here; then a problem is an error.
        offered: the GPUs that the node offers to Ray.
    """
    if not found["devices"] and not gpus and not offered:
        return
    checks = _CHECKS if found["devices"] or gpus else ()
    problem = next((line for check in checks if (line := check(found, gpus))), None)
    if problem is None and offered > len(gpus):
        text = f"the node offers {offered:g} GPUs, and torch sees {len(gpus)} there"
        problem = text, "start it with the GPUs that it has (--num-gpus, docker run --gpus all)"
    if problem is not None:
        text, remedy = problem
        yield (error if wanted else warning)(_WHAT, text, remedy, node=node)
        return
    driver, supports = found["driver"] or "of unknown version", found["supports"]
    newest = f", for CUDA {_text(supports)}" if supports else ""
    built = found["built_for"]
    yield ok(_WHAT, f"{driver}{newest}; torch is built for CUDA {_text(built)}", node=node)


def _cpu_build(found: dict[str, Any], gpus: list[dict[str, Any]]) -> tuple[str, str] | None:
    if found["built_for"]:
        return None
    text = f"{_files(found['devices'])} here, but torch {found['torch']} is built for CPUs only"
    return text, "install PyTorch's CUDA build, or set resources.gpu=0"


def _no_library(found: dict[str, Any], gpus: list[dict[str, Any]]) -> tuple[str, str] | None:
    if found["supports"]:
        return None
    text = f"{_files(found['devices'])} here, but the driver's library libcuda.so.1 is not"
    return text, "start the container with NVIDIA's toolkit (docker run --gpus all)"


def _too_old(found: dict[str, Any], gpus: list[dict[str, Any]]) -> tuple[str, str] | None:
    """Within a major version of CUDA, a newer program runs on an older driver."""
    built, supports = found["built_for"], found["supports"]
    if supports[0] >= built[0]:
        return None
    driver = f"driver {found['driver']}" if found["driver"] else "the driver"
    text = f"{driver} knows CUDA {_text(supports)}, but torch is built for CUDA {_text(built)}"
    oldest = _OLDEST_DRIVER.get(built[0])
    newer = f"update it to {oldest} or newer" if oldest else "update it"
    return text, f"{newer}, or install a PyTorch that is built for CUDA {supports[0]}"


def _unusable(found: dict[str, Any], gpus: list[dict[str, Any]]) -> tuple[str, str] | None:
    if not found["problem"]:
        return None
    return f"torch does not reach the GPU: {found['problem']}", "see what nvidia-smi says there"


def _no_kernels(found: dict[str, Any], gpus: list[dict[str, Any]]) -> tuple[str, str] | None:
    """A GPU runs kernels of its major version, and translates any source, up to its own version."""
    kernels = [tuple(each) for each in found["kernels"]]
    source = [tuple(each) for each in found["source"]]
    for gpu in gpus:
        have = tuple(gpu["capability"])
        runs = [k for k in kernels if k[0] == have[0] and k <= have]
        if kernels and not runs and not any(each <= have for each in source):
            kinds = ", ".join(_text(kernel) for kernel in sorted(set(kernels)))
            text = f"torch has no kernels for {gpu['name']} ({_text(have)}), only for {kinds}"
            return text, "install a PyTorch that is built for an older CUDA, or use another GPU"
    return None


#: In this order, each says what is wrong and what to do, or None.
_CHECKS: tuple[Callable[[dict[str, Any], list[dict[str, Any]]], tuple[str, str] | None], ...] = (
    _cpu_build,
    _no_library,
    _too_old,
    _unusable,
    _no_kernels,
)


def _device_files() -> int:
    """The number of NVIDIA's GPUs that this machine or container has."""
    return sum(1 for file in Path("/dev").glob("nvidia[0-9]*"))


def _driver_version() -> str:
    """The kernel module's version, such as 580.65.06; empty if there is none."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    found = re.search(r"Kernel Module.*?\s(\d+\.\d+(?:\.\d+)?)\s", text)
    return found.group(1) if found else ""


def _supported_cuda() -> Version | None:
    """The newest CUDA that the driver's library knows; None without it."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    number = ctypes.c_int(0)
    if library.cuDriverGetVersion(ctypes.byref(number)) != 0:
        return None
    return number.value // 1000, number.value % 1000 // 10


def _architectures(kind: str) -> list[Version | None]:
    """(7, 5) for `sm_75`; empty for a CPU build, and where no GPU can be reached."""
    names = [name.rstrip("af") for name in torch.cuda.get_arch_list() if name.startswith(kind)]
    numbers = [name.removeprefix(kind) for name in names]
    return [_pair(f"{number[:-1]}.{number[-1]}") for number in numbers]


def _pair(text: str) -> Version | None:
    numbers = text.split(".")
    return (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else None


def _text(version: Version | tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _files(devices: int) -> str:
    return "a GPU is" if devices == 1 else f"{devices} GPUs are"
