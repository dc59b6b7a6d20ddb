"""The precision of a sweep's trials: decided once, recorded with the sweep, kept on every host.

`precision: auto` is part of a trial's identity, and what it becomes is not.  Hosts of two kinds
would therefore mix two precisions in one comparison.  So the sweep decides: bf16 where everything
that trains multiplies it natively, else fp32.  `sweep.yaml` records that (`resolved.precision`),
every trial is given it, and a host that would emulate it refuses (trainer.loop.device).
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from orchestrator.ledger import Ledger
from orchestrator.ledger.listing import resolved_spec
from orchestrator.spec import SweepSpec
from orchestrator.spec.models import ResolvedSpec
from trainer.config.choices import EMULATED_BF16, PRECISIONS
from trainer.loop.device import (
    Hardware,
    PrecisionError,
    choose_device,
    explain_device,
    explain_precision,
    hardware_of,
    kept_elsewhere,
    would_emulate,
)
from trainer.storage.folder import StoreError

__all__ = ["asked", "describe", "keep", "needs_hardware", "preview", "settle", "this_machine"]


def asked(spec: SweepSpec) -> set[str]:
    """Every `precision` that a trial of the sweep can be configured with."""
    base, dimension = str(spec.base_value("precision")), spec.space.get("precision")
    names = {str(entry.get("precision", base)) for entry in spec.enqueue}
    if spec.search.algorithm != "list" and (dimension is None or dimension.when):
        names.add(base)
    if dimension is not None:
        searched = {str(choice) for choice in dimension.choices or []}
        entries = {str(entry["precision"]) for entry in spec.enqueue if "precision" in entry}
        names = searched | entries | ({base} if dimension.when else set())
    return names


def keep(spec: SweepSpec, ledger: Ledger) -> SweepSpec:
    """The sweep with what `auto` became in the trials that its folder has, if there are any.

    Raises `PrecisionError` if they compute in two precisions, or in another one than `spec` says.
    """
    recorded = _recorded(ledger) if "auto" in asked(spec) else ""
    wanted = spec.resolved.precision
    if recorded and wanted and wanted != recorded:
        raise PrecisionError(
            f"resolved.precision: {wanted}: the trials in {ledger.folder.path} compute in "
            f"{recorded}",
            "remove resolved.precision from the sweep file, or give the sweep another name",
        )
    return _resolved(spec, recorded) if recorded else spec


def needs_hardware(spec: SweepSpec) -> bool:
    """Whether the sweep's precision depends on the devices that it trains on."""
    names = asked(spec)
    return "bf16" in names or ("auto" in names and spec.resolved.precision != "fp32")


def settle(spec: SweepSpec, hardware: Sequence[Hardware]) -> SweepSpec:
    """The sweep with its precision decided for everything that it trains on.

    Raises `PrecisionError` where some of that would emulate bf16.
    """
    names = asked(spec)
    lacking = next((each for each in hardware if not each.native_bf16), None)
    if "bf16" in names and lacking:
        raise would_emulate(lacking)
    if "auto" not in names:
        return spec
    precision = spec.resolved.precision or ("fp32" if lacking else "bf16")
    if precision == "bf16" and lacking:
        raise kept_elsewhere(lacking)
    return _resolved(spec, precision)


def describe(spec: SweepSpec, hardware: Sequence[Hardware]) -> str:
    """What a settled sweep uses, and why: `precision: fp32 (auto; ...), device: cpu (auto; ...)`.

    Args:
        hardware: what it trains on; empty if that was not asked.
    """
    became = {"auto": spec.resolved.precision or "auto", EMULATED_BF16: "bf16"}
    parts = [explain_precision(n, became.get(n, n), hardware) for n in sorted(asked(spec))]
    return f"precision: {', '.join(parts)}, device: {_device(spec, hardware)}"


def preview(spec: SweepSpec, out: str | None, hardware: Sequence[Hardware]) -> str:
    """What `describe` will say when the sweep starts.

    Args:
        out: the folder of all sweeps, which is read if it answers; None for a sweep begun anew.

    Raises `PrecisionError` where the sweep would be refused.
    """
    if out is not None:
        with contextlib.suppress(OSError, StoreError):
            spec = keep(spec, Ledger(out, spec.name))
    return describe(settle(spec, hardware), hardware)


def this_machine(spec: SweepSpec) -> Hardware:
    """What the sweep's trials compute on if they run here."""
    device = choose_device(str(spec.base_value("device")))
    return _gpu_of_this_machine() if device.type == "cuda" else hardware_of(device)


@functools.cache
def _gpu_of_this_machine() -> Hardware:
    """Asked in a process of its own: a driver that opens the GPU may count there as another
    program, which makes the trials' minutes contended."""
    code = (
        "import torch\nfrom trainer.loop.device import multiplies_bf16\n"
        "print(multiplies_bf16(torch.device('cuda')))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return Hardware("cuda", answer.stdout.split()[-1:] == ["True"])


def _recorded(ledger: Ledger) -> str:
    """What `auto` became in a ledger's trials; empty if none was trained with it.

    Sweeps of before it was recorded have it in their trials' config.json.
    """
    if not ledger.trial_ids():
        return ""
    resolved: Any = resolved_spec(ledger).get("resolved")
    if isinstance(resolved, dict) and resolved.get("precision") in PRECISIONS:
        return str(resolved["precision"])
    trials: dict[str, str] = {}
    for trial in ledger.trials():
        precision = trial.identity.get("precision")
        if trial.config["precision"] == "auto" and precision in PRECISIONS:
            trials.setdefault(precision, trial.trial_id)
    if len(trials) > 1:
        examples = ", ".join(f"{trial} in {name}" for name, trial in sorted(trials.items()))
        raise PrecisionError(
            f"{ledger.folder.path}: its trials compute in two precisions ({examples}), because "
            "precision: auto was decided on each host",
            "begin it anew with --fresh, or move the trials of one precision away",
        )
    return next(iter(trials), "")


def _resolved(spec: SweepSpec, precision: str) -> SweepSpec:
    resolved = ResolvedSpec.model_validate({"precision": precision})
    return spec.model_copy(update={"resolved": resolved})


def _device(spec: SweepSpec, hardware: Sequence[Hardware]) -> str:
    name = str(spec.base_value("device"))
    kinds = " and ".join(sorted({each.kind for each in hardware}))
    if not hardware:
        return f"{name} (chosen on each node)" if name == "auto" else f"{name} (as configured)"
    if hardware[0].host and name == "auto":
        nodes = "1 node" if len(hardware) == 1 else f"{len(hardware)} nodes"
        return f"{kinds} (auto; on {nodes})"
    return explain_device(name, kinds)
