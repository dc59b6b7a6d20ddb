"""Training steps on a CUDA device that computes nothing, where torch has no CUDA.

Tensors have shapes, types and devices, and no numbers.  So a step shows the operators that it
runs, a mix of devices or types, and every copy between host and device.  It does not show numbers,
memory or races.

    steps = run(requests, folder)
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

_SOURCE = Path(__file__).parent / "device.cpp"


def why_not() -> str:
    """Why steps cannot be run here; empty if they can."""
    return "" if shutil.which("g++") else "needs g++ (Debian: apt install g++)"


def build(folder: Path) -> Path:
    """Compile the device against the installed torch, which takes seconds."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.submodule_search_locations
    torch = Path(spec.submodule_search_locations[0])
    library = folder / "device.so"
    subprocess.run(
        ["g++", "-shared", "-fPIC", "-std=c++20", _SOURCE, "-o", library,
         f"-I{torch}/include", f"-I{torch}/include/torch/csrc/api/include", f"-L{torch}/lib",
         "-lc10", "-ltorch_cpu"],
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    return library


def run(
    library: Path,
    requests: list[dict[str, Any]],
    folder: Path,
    fault: dict[str, str] | None = None,
) -> list[dict[str, Any]]:
    """What each request's steps did, from a process of its own (`steps.main`).

    Args:
        requests: each has a `config` (changes of `small_config`) and a `capability`.  With
            `repeats`, the first step of every phase is taken so many times.  With
            `grids`, attention is computed without a GPU's kernels.  With `probe`, they are the
            steps that the memory probe takes.  `kept` is the precision in which the trial began.
        fault: a change of the project's source in that process (`changed_source.put_back`).
    """
    (folder / "requests.json").write_text(json.dumps(requests))
    if fault is not None:
        (folder / "fault.json").write_text(json.dumps(fault))
    answer = subprocess.run(
        [sys.executable, "-m", "tests.support.fake_cuda.steps", library, folder],
        capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    return list(json.loads((folder / "answers.json").read_text()))
