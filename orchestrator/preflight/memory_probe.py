"""`orch sweep --probe`: how many trials fit a device, from a step of the largest configuration.

The step runs in its own process, which needs as much memory as a trial.  It uses the longest
sentences of each task, so that no step of a trial needs more.  An evaluation and a checkpoint
follow.  On a GPU there are recorded steps too (orchestrator.preflight.probe_steps).
"""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from orchestrator.errors import SweepError
from orchestrator.ledger.labels import method_of
from orchestrator.preflight.checks import examples
from orchestrator.preflight.disk_space import checkpoint_bytes, encoder_shape, parameters
from orchestrator.preflight.probe_steps import ProbeRun, held_on_gpu
from orchestrator.spec import SweepSpec
from trainer.combiners.registry import COMBINERS
from trainer.config import ConfigError, TrainConfig
from trainer.loop.device import choose_device, peak_memory_mb
from trainer.samplers import registry as samplers
from trainer.step_timing import free_memory, used_memory
from trainer.storage.folder import in_words
from trainer.train import Diverged, train_epoch

#: Share of a device's memory to leave free: allocators fragment, and steps differ.
MARGIN = 0.1
#: Ray divides a GPU into so many shares.
_SHARES = 10_000
#: A layer's activations, in bytes per token and hidden unit (Korthikanti et al. 2022, section 4: 34
#: with two bytes per number).  We use it only to order configurations.
_ACTIVATIONS = 68


@dataclass(frozen=True)
class Probed:
    """What a step needed.  Sizes are in bytes.

    `peak` is what a trial takes from its device: on a GPU everything that its process holds there,
    with CUDA's context (`allocated` is the part of tensors); on the CPU its resident set.
    `recorded` is the part of it that was not measured: room for as many recorded steps as a trial
    keeps.  `free` is what is free for trials on the fullest of the `devices` devices.
    """

    device: str
    peak: int
    allocated: int
    free: int
    devices: int
    recorded: int = 0

    @property
    def fits(self) -> int:
        """How many trials fit each device; a single one needs no margin."""
        return max(int(self.free * (1 - MARGIN) // self.peak), int(self.peak <= self.free))


def probed(spec: SweepSpec, say: Callable[[str], None], address: str | None = None) -> SweepSpec:
    """The sweep with as many trials at once as fit, unless it sets the number itself.

    This changes `resources.max_concurrent`, and on a GPU `resources.gpu`, but no key that the file,
    its profile or `--set` names.

    Args:
        address: of a cluster to join; refused, because the probe measures this machine.

    Raises `SweepError` if nothing can be measured, or not one trial fits.
    """
    if address is not None:
        raise SweepError(
            "--probe measures this machine, but --address names others: run it on one of those "
            "without --address (--dry-run starts nothing), and write its result in the sweep file"
        )
    config = replace(largest(spec), threads=max(1, int(spec.resources.cpu)))
    if config.device == "auto":
        config = replace(config, device=spec.device)
    if config.precision == "auto" and spec.resolved.precision:
        config = replace(config, precision=spec.resolved.precision)
    measured = measure(config)
    batch = max(config.batch_size_of(task) for task in config.tasks)
    what = f"{method_of(config)}, {config.encoder}, batches of {batch}, {len(config.tasks)} tasks"
    where = "this machine" if measured.device == "cpu" else f"each of {measured.devices} GPUs"
    where = "the GPU" if measured.device != "cpu" and measured.devices == 1 else where
    say(
        f"probe: one step of the largest configuration ({what}) takes {measured.peak:,} bytes "
        f"({in_words(measured.peak)}); {in_words(measured.free)} are free on {where}"
    )
    if measured.recorded:
        say(f"probe: {in_words(measured.recorded)} of them are room for further recorded steps")
    if not measured.fits:
        raise SweepError(
            f"--probe: the largest configuration ({what}) takes {in_words(measured.peak)}, but "
            f"{in_words(measured.free)} are free on {where}: not one trial fits; make batches or "
            "the encoder smaller"
        )
    say(
        f"probe: {measured.fits} trial{'s fit' if measured.fits > 1 else ' fits'} there, with "
        f"{MARGIN:.0%} of the memory left over"
    )
    return _with_room(spec, measured, say)


def _with_room(spec: SweepSpec, measured: Probed, say: Callable[[str], None]) -> SweepSpec:
    wanted = spec.resources
    cpus, changes = os.cpu_count() or 1, dict[str, Any]()
    if measured.device == "cpu":
        held = wanted.model_copy(update={"gpu": 0}).places(cpus, 0)
        changes["max_concurrent"] = max(1, min(measured.fits, held))
    else:
        share = math.floor(_SHARES / measured.fits) / _SHARES
        given = wanted.gpu if "gpu" in wanted.model_fields_set else 0
        held = wanted.model_copy(update={"gpu": given or share}).places(cpus, measured.devices)
        changes = {"gpu": share, "max_concurrent": max(1, held)}
    for key in sorted(changes.keys() & wanted.model_fields_set):
        say(f"probe: resources.{key} stays {getattr(wanted, key):g}, as configured")
        del changes[key]
    for key, value in changes.items():
        say(f"probe: resources.{key} is {value:g} for this run")
    return spec.model_copy(update={"resources": wanted.model_copy(update=changes)})


def largest(spec: SweepSpec) -> TrainConfig:
    """The configuration that needs most memory, by parameters, tokens per step and layers.

    It compares the entries of `enqueue` with the largest value of every dimension, chosen one
    dimension after the other.
    """
    seed = spec.search.seeds[0]
    candidates = [(_size(config), config) for config in examples(spec)]
    params: dict[str, Any] = {}
    for key in [*spec.space, *spec.space]:  # twice: a choice may depend on a later dimension
        dimension = spec.space[key]
        sizes = []
        for value in dimension.choices or [dimension.low, dimension.high]:
            with suppress(ConfigError):  # not every combination is valid
                config = spec.config_for({**params, key: value}, seed)
                sizes.append((_size(config), value, config))
        if sizes:
            size, value, config = max(sizes, key=lambda entry: entry[0])
            params[key] = value
            candidates.append((size, config))
    return max(candidates, key=lambda entry: entry[0])[1]


def _size(config: TrainConfig) -> float:
    """About the bytes that a step needs; good enough to compare configurations."""
    shape = encoder_shape(config)
    batches = [config.batch_size_of(t.name) * config.max_length_of(t) for t in config.task_list]
    sampler = samplers.entry_of(config.sampler)
    tokens = max(batches) if sampler.one_task else sum(batches)
    if "draws_per_step" in sampler.keys:
        tokens = max(tokens, max(batches) * config.draws_per_step)
    passes = 1 + bool(config.smart_weight)
    activations = tokens * shape.layers * shape.hidden * _ACTIVATIONS
    apart = COMBINERS[config.combiner].needs_gramian or config.record_conflicts
    rows = len(config.tasks) if apart and not sampler.one_task else 1
    gradients = rows * parameters(shape) * 4
    return checkpoint_bytes(config) + gradients + passes * activations


def measure(config: TrainConfig) -> Probed:
    """Run the step in its own process.  Raises `SweepError` if that fails."""
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.preflight.memory_probe"],
        input=json.dumps(config.to_dict()),
        capture_output=True,
        text=True,
    )
    last = done.stdout.strip().rpartition("\n")[2]
    if done.returncode == 0:
        return Probed(**json.loads(last))
    reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
    if done.returncode == -9:
        reason = "its process was killed, probably because the system ran out of memory"
    if "OutOfMemoryError" in reason or "can't allocate memory" in reason:
        reason = "out of memory: not one trial fits"
    raise SweepError(f"--probe: a step of the largest configuration failed: {reason}")


def _take(config: TrainConfig) -> Probed:
    """Run the step in this process, which does nothing else."""
    import orchestrator.runner.trainable  # noqa: F401  (a trial's process has Ray loaded)

    device = choose_device(config.device)
    on_gpu = device.type == "cuda"
    before = _held_by_others() if on_gpu else []
    free = free_memory(device) + used_memory(device)
    if not math.isfinite(free):
        raise SystemExit("this system does not report how much memory is free")
    run = ProbeRun(config)
    with suppress(Diverged):  # the scores of such an epoch do not matter
        train_epoch(run, 1)
    if not on_gpu:
        peak = round(peak_memory_mb(device) * 2**20)
        return Probed("cpu", peak, peak, int(free), 1)
    torch.cuda.synchronize(device)
    held = max(held_on_gpu(), run.most)
    devices = torch.cuda.device_count()
    totals = [torch.cuda.get_device_properties(index).total_memory for index in range(devices)]
    others = before if len(before) == devices else [0] * devices
    return Probed(
        device="cuda",
        peak=max(held - others[0], torch.cuda.max_memory_reserved(device)) + run.further,
        allocated=torch.cuda.max_memory_allocated(device),
        free=min(whole - taken for whole, taken in zip(totals, others, strict=True)),
        devices=devices,
        recorded=run.further,
    )


def _held_by_others() -> list[int]:
    """Bytes in use on each visible GPU, from nvidia-smi; empty if it does not answer."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    if visible := os.environ.get("CUDA_VISIBLE_DEVICES"):
        command += ["-i", visible]
    with suppress(OSError, subprocess.SubprocessError, ValueError):
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return [int(line) * 2**20 for line in answer.stdout.split()]
    return []


def _main(words: Iterable[str]) -> None:
    print(json.dumps(asdict(_take(TrainConfig.from_dict(json.loads("".join(words)))))))


if __name__ == "__main__":
    _main(sys.stdin)
