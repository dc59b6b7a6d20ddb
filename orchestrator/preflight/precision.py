"""The precision of a sweep's trials: decided once, recorded with the sweep, kept on every host.

`precision: auto` is part of a trial's identity, but its result is not.  Hosts of two kinds would
mix two precisions in one comparison.  So the sweep decides: the first of bf16, fp16 and fp32 that
all its devices multiply natively.  `sweep.yaml` records the result (`resolved.precision`), every
trial gets it, and a host that would emulate it refuses (trainer.loop.device).
"""

from __future__ import annotations

import contextlib
import functools
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.ledger.listing import resolved_spec
from orchestrator.preflight.checks import check_same_sweep
from orchestrator.spec import SweepSpec
from orchestrator.spec.models import ResolvedSpec
from trainer.config.choices import EMULATED, PRECISIONS
from trainer.loop.device import (
    Hardware,
    PrecisionError,
    auto_precision,
    choose_device,
    explain_device,
    explain_precision,
    hardware_of,
    kept_elsewhere,
    lacking,
    would_emulate,
)
from trainer.storage.folder import StoreError


def asked(spec: SweepSpec) -> set[str]:
    """Every `precision` that a trial of the sweep can be configured with."""
    dimension = spec.space.get("precision")
    names = {str(entry["precision"]) for entry in spec.enqueue if "precision" in entry}
    if dimension is not None:
        names |= {str(choice) for choice in dimension.choices or []}
        uses_base = bool(dimension.when)
    else:
        proposes = spec.search.algorithm != "list"
        uses_base = proposes or any("precision" not in entry for entry in spec.enqueue)
    return names | ({str(spec.base_value("precision"))} if uses_base else set())


def keep(spec: SweepSpec, ledger: Ledger) -> SweepSpec:
    """The sweep with the precision that `auto` became in its earlier trials, if there are any.

    Raises `PrecisionError` if they use two precisions, or another one than `resolved.precision`.
    """
    recorded = _recorded(ledger) if "auto" in asked(spec) else ""
    wanted = spec.resolved.precision
    if recorded and wanted and wanted != recorded:
        raise PrecisionError(
            f"resolved.precision: {wanted}: the trials in {ledger.folder.path} use {recorded}",
            "remove resolved.precision from the sweep file, or give the sweep another name",
        )
    return _resolved(spec, recorded) if recorded else spec


def needs_hardware(spec: SweepSpec) -> bool:
    """Whether the sweep's precision depends on its devices."""
    names = asked(spec)
    named = names & {*PRECISIONS} - {"fp32"}
    return bool(named) or ("auto" in names and spec.resolved.precision != "fp32")


def settle(spec: SweepSpec, hardware: Sequence[Hardware]) -> SweepSpec:
    """The sweep with its precision decided for all its devices.

    Raises `PrecisionError` if one of them would emulate a precision of the sweep.
    """
    names = asked(spec)
    for precision in sorted(names & {*PRECISIONS}):
        if without := lacking(precision, hardware):
            raise would_emulate(precision, without)
    if "auto" not in names:
        return spec
    precision = spec.resolved.precision or auto_precision(hardware)
    if without := lacking(precision, hardware):
        raise kept_elsewhere(precision, without)
    return _resolved(spec, precision)


def settled_on_hosts(
    spec: SweepSpec, ledger: Ledger, address: str | None, places: int
) -> tuple[SweepSpec, str]:
    """The sweep with its precision decided and recorded, and what users read about its devices.

    Args:
        address: of the joined cluster, if any.
        places: how many trials train at the same time.

    Raises `PrecisionError`, or `ClusterError` if no node reports its hardware.
    """
    from orchestrator import runner

    threads = spec.base_value("threads") or max(1, int(spec.resources.cpu))
    at_once = f"{places} trial{'s' if places > 1 else ''} at once"
    each = f"{threads} thread{'s' if threads > 1 else ''} each"
    if address is None:  # it was settled before anything was written
        return spec, f"{describe(spec, [this_machine(spec)])}, {at_once}, {each}"
    hardware: Sequence[Hardware] = []
    if needs_hardware(spec):
        hardware = runner.trial_hardware(spec.resources, spec.device)
        if not hardware:
            raise runner.ClusterError(
                "no node with room for a trial reports which precisions it multiplies natively: "
                "free one, or choose precision: fp32"
            )
    try:
        spec = settle(spec, hardware)
    except PrecisionError:
        if not ledger.trial_ids():  # so that the sweep can start with another precision
            ledger.folder.delete(RESOLVED)
        raise
    check_same_sweep(ledger.folder, spec)
    return spec, f"{describe(spec, hardware)}, at most {at_once}, {each}"


def describe(spec: SweepSpec, hardware: Sequence[Hardware]) -> str:
    """What a settled sweep uses, and why: `precision: fp32 (auto; ...), device: cpu (auto; ...)`.

    Args:
        hardware: its devices; empty if they are not known.
    """
    became = {"auto": spec.resolved.precision or "auto", **EMULATED}
    parts = [explain_precision(n, became.get(n, n), hardware) for n in sorted(asked(spec))]
    same = ", deterministic" if spec.base_value("deterministic") else ""
    return f"precision: {', '.join(parts)}, device: {_device(spec, hardware)}{same}"


def preview(spec: SweepSpec, out: str | None, hardware: Sequence[Hardware]) -> str:
    """What `describe` will report when the sweep starts.

    Args:
        out: the folder of all sweeps, if it can be read; None for a sweep with `--fresh`.

    Raises `PrecisionError` if the sweep would be refused.
    """
    if out is not None:
        with contextlib.suppress(OSError, StoreError):
            spec = keep(spec, Ledger(out, spec.name))
    return describe(settle(spec, hardware), hardware)


def this_machine(spec: SweepSpec) -> Hardware:
    """The device of the sweep's trials if they run here."""
    device = choose_device(spec.device)
    if device.type != "cuda":
        return hardware_of(device)
    if asked(spec) == {"fp32"}:  # nothing depends on the answer, which takes seconds
        return Hardware("cuda", frozenset({"fp32"}))
    return _gpu_of_this_machine()


@functools.cache
def _gpu_of_this_machine() -> Hardware:
    """Queried in its own process: if the driver itself opened the GPU, it could count there as
    another program and make the trials' minutes contended."""
    code = (
        "import torch\nfrom trainer.loop.device import native_precisions\n"
        "print(*native_precisions(torch.device('cuda')))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return Hardware("cuda", frozenset({"fp32"} | ({*answer.stdout.split()} & {*PRECISIONS})))


def _recorded(ledger: Ledger) -> str:
    """What `auto` became in a ledger's trials; empty if none uses it.

    Older sweeps record it in their trials' config.json only.
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
            f"{ledger.folder.path}: its trials use two precisions ({examples}), because "
            "precision: auto was decided on each host",
            "start again with --fresh, or move the trials of one precision away",
        )
    return next(iter(trials), "")


def _resolved(spec: SweepSpec, precision: str) -> SweepSpec:
    known = {**spec.resolved.model_dump(), "precision": precision}
    resolved = ResolvedSpec.model_validate(known)
    return spec.model_copy(update={"resolved": resolved})


def _device(spec: SweepSpec, hardware: Sequence[Hardware]) -> str:
    name = str(spec.base_value("device"))
    if name != spec.device:
        return f"{spec.device} ({name}; resources.gpu: 0)"
    kinds = " and ".join(sorted({each.kind for each in hardware}))
    if not hardware:
        return f"{name} (chosen on each node)" if name == "auto" else f"{name} (as configured)"
    if hardware[0].host and name == "auto":
        nodes = "1 node" if len(hardware) == 1 else f"{len(hardware)} nodes"
        return f"{kinds} (auto; on {nodes})"
    return explain_device(name, kinds)
