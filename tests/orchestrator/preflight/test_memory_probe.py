"""`--probe`: what is measured, and what follows from it."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from orchestrator.errors import SweepError
from orchestrator.preflight import memory_probe
from orchestrator.preflight.memory_probe import Probed, largest, measure, probed
from orchestrator.preflight.probe_steps import ProbeRun
from orchestrator.spec import SweepSpec
from tests.support.small import small_config
from trainer.config import TrainConfig
from trainer.loop.cuda_graphs import MAX_GRAPHS, Function, GraphCache, Tensors
from trainer.loop.run import Run
from trainer.loop.step_data import Inputs, Outputs, StepLayout
from trainer.train import train_epoch

GB = 10**9


def make_spec(cache: Path, space: dict[str, Any] | None = None, **parts: Any) -> SweepSpec:
    base = small_config(cache).to_dict() | parts.pop("base", {})
    del base["seed"]
    algorithm = "random" if space else "list"
    whole = {
        "name": "s",
        "base": base,
        "space": space or {},
        "search": {"algorithm": algorithm, "seeds": [1]},
        "enqueue": [] if space else [{"dropout": 0.1}],
    }
    return SweepSpec.model_validate(whole | parts)


def with_found(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> list[TrainConfig]:
    """A machine on which a step takes 9 GB and 80 GB are free on each of two GPUs."""
    found = Probed(device="cuda", peak=9 * GB, allocated=8 * GB, free=80 * GB, devices=2)
    asked: list[TrainConfig] = []

    def measured(config: TrainConfig) -> Probed:
        asked.append(config)
        return dataclasses.replace(found, **changes)

    monkeypatch.setattr(memory_probe, "measure", measured)
    monkeypatch.setattr(os, "cpu_count", lambda: 16)
    return asked


# What is the largest


def test_the_largest_has_the_largest_value_of_every_dimension(cache: Path) -> None:
    space = {
        "batch_size": {"low": 4, "high": 32},
        "encoder": {"choices": ["mini", "tiny"]},
        "combiner": {"choices": ["sum", "pcgrad"]},
        "data.max_length": {"choices": [128, 64]},
        "tasks": {"choices": [["sst"], ["sst", "qqp", "sts"]]},
        "dropout": {"low": 0.0, "high": 0.5},
    }
    base = {"sampler": "round_robin", "data": {"source": "synthetic", "cache": str(cache)}}
    found = largest(make_spec(cache, space, base=base))
    assert (found.batch_size, found.encoder, found.combiner) == (32, "mini", "pcgrad")
    assert found.tasks == ("sst", "qqp", "sts")
    assert {found.max_length_of(task) for task in found.task_list} == {128}


def test_an_entry_may_be_the_largest(cache: Path) -> None:
    entries = [{"batch_size": 8}, {"batch_size": 64}, {"batch_size": 16}]
    assert largest(make_spec(cache, enqueue=entries)).batch_size == 64


# What is measured


@pytest.mark.slow(reason="trains in two processes of their own")
def test_what_a_step_takes_is_measured_in_a_process_of_its_own(cache: Path) -> None:
    found = measure(small_config(cache))
    assert (found.device, found.devices) == ("cpu", 1)
    # A process with torch and Ray loaded is some hundred MB; these are bytes.
    assert 200 * 2**20 < found.peak < 4 * 2**30
    assert found.fits == int(0.9 * found.free // found.peak) > 0
    # 4.6 MB of parameters more, each several times in memory.
    larger = measure(small_config(cache, encoder="mini", B=8))
    assert larger.peak > found.peak + 50 * 2**20


def test_the_step_has_each_tasks_longest_sentences(cache: Path) -> None:
    short = ProbeRun(small_config(cache))
    plain = Run(small_config(cache))
    for phase, whole in zip(short.plan(1), plain.plan(1), strict=True):
        assert len(phase.steps) == 2  # the optimizer's moments are there in the second

        def tokens(step: Any) -> int:
            splits = plain.corpus.splits
            return sum(int(splits[d.task]["train"].lengths[d.rows].sum()) for d in step)

        assert tokens(phase.steps[0]) >= max(map(tokens, whole.steps))
    record, files = train_epoch(short, 1)
    assert record["updates"] == 2 * len(plain.plan(1))
    assert any(name.endswith(".safetensors") for name in files)  # a checkpoint was made, too


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import os; os.kill(os.getpid(), 9)", "its process was killed"),
        ("raise SystemExit('how much memory is free cannot be known')", "cannot be known"),
        ("raise type('OutOfMemoryError', (Exception,), {})('CUDA')", "not one trial fits"),
    ],
)
def test_what_cannot_be_measured_is_said(
    code: str, says: str, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run

    def other(command: list[str], **options: Any) -> Any:
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr(subprocess, "run", other)
    with pytest.raises(SweepError, match=f"^--probe: .*{says}") as raised:
        measure(small_config(cache))
    assert "\n" not in str(raised.value)


def test_memory_that_nobody_knows_is_no_measurement(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_probe, "free_memory", lambda device: float("inf"))
    with pytest.raises(SystemExit, match="does not report how much memory"):
        memory_probe._take(small_config(cache))


def test_a_gpu_is_asked_for_all_that_the_process_holds(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fake: 80 GB, of which others hold 10, and behind the step 55 are left."""
    names = {
        "synchronize": lambda device: None,
        "mem_get_info": lambda: (55 * GB, 80 * GB),
        "device_count": lambda: 2,
        "get_device_properties": lambda index: SimpleNamespace(total_memory=80 * GB),
        "max_memory_reserved": lambda device: 12 * GB,
        "max_memory_allocated": lambda device: 11 * GB,
    }
    for name, fake in names.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    taken: list[int] = []
    monkeypatch.setattr(memory_probe, "choose_device", lambda name: torch.device("cuda"))
    monkeypatch.setattr(memory_probe, "_held_by_others", lambda: [10 * GB, 30 * GB])
    monkeypatch.setattr(memory_probe, "free_memory", lambda device: 70.0 * GB)
    monkeypatch.setattr(memory_probe, "used_memory", lambda device: 0)
    run = SimpleNamespace(most=0, further=0)
    monkeypatch.setattr(memory_probe, "ProbeRun", lambda config: run)
    monkeypatch.setattr(memory_probe, "train_epoch", lambda run, number: taken.append(number))
    found = memory_probe._take(small_config(cache))
    # 80 - 55 - 10: tensors, cached blocks and CUDA's context; the fuller device has 50 left.
    assert found == Probed("cuda", 15 * GB, 11 * GB, 50 * GB, 2)
    assert found.fits == 3
    assert taken == [1]
    # 2 GB more at its fullest, and a GB for recorded steps that were not taken.
    run.most, run.further = 27 * GB, 1 * GB
    assert memory_probe._take(small_config(cache)) == Probed(
        "cuda", 18 * GB, 11 * GB, 50 * GB, 2, recorded=1 * GB
    )


class Gpu:
    """Memory of a GPU as torch takes it, with a token for a byte.

    Plain steps leave a cache, which a recording empties.  Recorded steps have a pool of their own,
    and each of them holds a little more.
    """

    def __init__(self, live: int, each: int):
        self.live, self.each = live, each
        self.cache = self.pool = self.graphs = self.largest = 0
        self.replaying = False

    @property
    def held(self) -> int:
        return self.live + self.cache + self.pool + self.each * self.graphs

    def took(self, tokens: int) -> None:
        self.largest = max(self.largest, tokens)
        if self.replaying:
            self.pool = max(self.pool, tokens)
        else:
            self.cache = max(self.cache, tokens)

    def capture(self, function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        self.cache, self.graphs = 0, self.graphs + 1

        def replay() -> Tensors:
            self.replaying = True
            made = function(inputs)
            self.replaying = False
            return made

        return replay


def recording_run(gpu: Gpu, config: TrainConfig) -> ProbeRun:
    """A run on the CPU whose steps are recorded, and take memory of the fake GPU."""
    run = ProbeRun(config, lambda: gpu.held)
    run.stepper.graph_cache = GraphCache(gpu.capture)
    run.stepper.align = 4  # so that there are several sizes
    compute = run.stepper.compute

    def counted(layout: StepLayout, inputs: Inputs, *others: Any) -> Outputs:
        gpu.took(sum(part.packed.tokens for part in inputs.passes))
        return compute(layout, inputs, *others)

    run.stepper.compute = counted  # type: ignore[method-assign]
    return run


@pytest.mark.parametrize(
    ("changes", "graphs"),
    [
        ({"sampler": "round_robin", "epochs": 2}, 10),  # 16 steps an epoch, each size twice plainly
        ({"sampler": "round_robin", "epochs": 200}, MAX_GRAPHS),
        ({"sampler": "arrp", "B": 20, "epochs": 200}, MAX_GRAPHS),
    ],
)
def test_recorded_steps_of_all_sizes_count_beside_plain_ones(
    cache: Path, changes: dict[str, Any], graphs: int
) -> None:
    gpu = Gpu(live=10_000, each=7)
    run = recording_run(gpu, small_config(cache, batch_size=2, dropout=0.0, **changes))
    train_epoch(run, 1)
    assert 2 < gpu.graphs <= graphs
    # The cache of plain steps and the pool of recorded ones, both at their largest.
    assert run.most > 10_000 + 2 * gpu.largest
    assert run.most + run.further == 10_000 + 2 * gpu.largest + 7 * graphs


def test_a_recording_that_fails_leaves_no_further_ones(cache: Path) -> None:
    gpu = Gpu(live=10_000, each=7)
    run = recording_run(gpu, small_config(cache, batch_size=2, sampler="round_robin"))

    def refuse(function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        if gpu.graphs == 2:
            raise RuntimeError("no memory")
        return gpu.capture(function, inputs)

    run.stepper.graph_cache = GraphCache(refuse)
    with pytest.warns(UserWarning, match="not captured"):
        train_epoch(run, 1)
    assert gpu.graphs == 2 and run.further == 0


def test_nvidia_smi_tells_what_others_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text('#!/bin/sh\necho "$@" > "$0.asked"\necho 3\necho 1024\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert memory_probe._held_by_others() == [3 * 2**20, 2**30]
    assert "-i 2,3" in (tmp_path / "nvidia-smi.asked").read_text()
    program.write_text("#!/bin/sh\nexit 9\n")
    assert memory_probe._held_by_others() == []


# What follows from it


def test_a_gpu_is_shared_by_as_many_trials_as_fit(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_found(monkeypatch)
    said: list[str] = []
    resources = probed(make_spec(cache), said.append).resources
    assert (resources.gpu, resources.max_concurrent) == (0.125, 16)
    assert "9,000,000,000 bytes" in said[0]
    assert "80.0 GB are free on each of 2 GPUs" in said[0]
    assert said[1] == "probe: 8 trials fit there, with 10% of the memory left over"
    with_found(monkeypatch, recorded=GB)
    probed(make_spec(cache), said.append)
    assert said[-4] == "probe: 1.0 GB of them are room for further recorded steps"


def test_so_many_shares_are_never_more_than_a_device(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for count in range(1, 60):
        with_found(monkeypatch, peak=GB, free=round(count * GB / 0.9) + 1, devices=1)
        monkeypatch.setattr(os, "cpu_count", lambda: 64)
        resources = probed(make_spec(cache), lambda text: None).resources
        assert resources.max_concurrent == count
        assert round(resources.gpu * 10_000) * count <= 10_000
        assert round(resources.gpu * 10_000) * (count + 1) > 10_000


def test_processors_limit_the_trials_on_a_gpu_too(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_found(monkeypatch, peak=GB, devices=1)
    assert probed(make_spec(cache), lambda text: None).resources.max_concurrent == 16


def test_what_the_file_says_is_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_found(monkeypatch)
    said: list[str] = []
    kept = probed(make_spec(cache, resources={"gpu": 0.5, "max_concurrent": 3}), said.append)
    assert (kept.resources.gpu, kept.resources.max_concurrent) == (0.5, 3)
    assert said[2:] == [
        "probe: resources.gpu stays 0.5, as configured",
        "probe: resources.max_concurrent stays 3, as configured",
    ]
    # As many at once as the given share allows, not as memory would.
    assert (
        probed(make_spec(cache, resources={"gpu": 0.5}), said.append).resources.max_concurrent == 4
    )


def test_on_a_cpu_memory_and_cores_limit_the_trials(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = with_found(monkeypatch, device="cpu", peak=GB, free=10 * GB, devices=1)
    resources = probed(make_spec(cache, resources={"cpu": 1}), print).resources
    assert (resources.gpu, resources.max_concurrent) == (0, 9)
    resources = probed(make_spec(cache, resources={"cpu": 4}), print).resources
    assert resources.max_concurrent == 4
    assert asked[-1].threads == 4  # it takes a step as a trial would


def test_a_single_trial_needs_no_margin(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with_found(monkeypatch, peak=95 * GB, free=100 * GB, devices=1)
    assert probed(make_spec(cache), print).resources.gpu == 1
    with_found(monkeypatch, peak=101 * GB, free=100 * GB, devices=1)
    with pytest.raises(SweepError, match="not one trial fits"):
        probed(make_spec(cache), print)


def test_a_cluster_is_not_measured_from_here(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = with_found(monkeypatch)
    with pytest.raises(SweepError, match="--probe measures this machine"):
        probed(make_spec(cache), print, "auto")
    assert asked == []


def test_a_dry_run_says_it_and_starts_nothing(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from typer.testing import CliRunner

    from orchestrator.cli import app

    with_found(monkeypatch)
    monkeypatch.chdir(tmp_path)
    spec = json.loads(json.dumps(make_spec(cache).to_dict()))
    del spec["resources"]
    (tmp_path / "sweep.yaml").write_text(json.dumps(spec))
    result = CliRunner().invoke(app, ["sweep", "sweep.yaml", "--probe", "--dry-run", "--json"])
    assert result.exit_code == 0, result.exception
    assert json.loads(result.stdout)["resources"]["gpu"] == 0.125
    assert "probe: 8 trials fit there" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.yaml"]
