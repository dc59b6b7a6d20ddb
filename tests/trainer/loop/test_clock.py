"""The training clock: the parts of a step, and who else uses the device."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import trainer.loop.clock
from tests.support.small import small_config
from trainer.loop.clock import STEP_PARTS, ContentionMonitor, StepClock
from trainer.loop.run import Run
from trainer.train import train_epoch

PAUSE = 0.1


def an_epoch(cache: Path, **changes: Any) -> dict[str, Any]:
    changes = {"sampler": "round_robin", "epochs": 1} | changes
    return train_epoch(Run(small_config(cache, **changes)), 1)[0]


@pytest.mark.parametrize(
    "changes", [{}, {"precision": "bf16-emulated"}, {"sampler": "arrp"}], ids=str
)
def test_the_parts_of_an_epoch_are_most_of_its_minutes_and_never_more(
    cache: Path, changes: dict[str, Any]
) -> None:
    record = an_epoch(cache, **changes)
    assert set(record["parts"]) == set(STEP_PARTS)
    assert all(minutes > 0 for minutes in record["parts"].values())
    whole = sum(record["parts"].values())
    assert 0.5 * record["minutes_per_epoch"] < whole <= record["minutes_per_epoch"]


def test_every_epoch_has_its_own_parts(cache: Path) -> None:
    run = Run(small_config(cache))
    for number in (1, 2):
        record = train_epoch(run, number)[0]
        assert sum(record["parts"].values()) <= record["minutes_per_epoch"]


@pytest.mark.parametrize(
    ("slow", "part"),
    [
        ("stepper.inputs", "data"),
        ("model.outputs", "forward_backward"),
        ("parameters.gramian", "surgery"),
        ("stepper._weights", "surgery"),
        ("parameters.combine", "surgery"),
        ("optimizer.step", "optimizer"),
        ("smart.after_update", "optimizer"),
    ],
)
def test_a_slow_part_is_seen_in_its_own_part_alone(cache: Path, slow: str, part: str) -> None:
    run = Run(small_config(cache, sampler="round_robin"))
    owner, name = slow.split(".")
    thing = run.optimizers.get("main") if owner == "optimizer" else getattr(run, owner)
    method = getattr(thing, name)

    def slowly(*arguments: Any, **options: Any) -> Any:
        time.sleep(PAUSE)
        return method(*arguments, **options)

    setattr(thing, name, slowly)
    record = train_epoch(run, 1)[0]
    slept = record["updates"] * PAUSE / 60
    assert record["parts"].pop(part) >= slept
    assert sum(record["parts"].values()) < 0.7 * slept


def test_where_nothing_is_combined_surgery_takes_no_time(cache: Path) -> None:
    assert an_epoch(cache, combiner="sum")["parts"]["surgery"] == 0
    assert an_epoch(cache, combiner="sum", record_conflicts=True)["parts"]["surgery"] > 0


def test_a_gpus_steps_are_not_waited_for() -> None:
    clock = StepClock(torch.device("cuda"))  # to read the time would fail where there is none
    clock.begin()
    clock.end("data")
    assert clock.take() is None


def test_to_look_at_the_clock_costs_a_step_nothing() -> None:
    """Seven looks a step; the smallest step takes milliseconds."""
    clock = StepClock(torch.device("cpu"))
    begun = time.perf_counter()
    for _ in range(10_000):
        clock.end("data")
    assert (time.perf_counter() - begun) / 10_000 < 20e-6


def test_a_busy_process_beside_this_one_is_foreign_load(busy: None) -> None:
    watch = ContentionMonitor(torch.device("cpu"))
    watch.begin()
    time.sleep(0.5)
    watch.end()
    contended, load = watch.contention()
    assert load is not None
    # A core of this machine's, less what it has to share.
    assert contended == (load > trainer.loop.clock.FOREIGN_LOAD_ALLOWED)
    assert load > 0.5 / (os.cpu_count() or 1)


@pytest.mark.parametrize(
    ("others", "verdict"), [(0.0, False), (0.05, False), (0.2, True), (0.9, True)]
)
def test_what_others_use_is_contention_from_a_tenth_of_the_machine(
    monkeypatch: pytest.MonkeyPatch, others: float, verdict: bool
) -> None:
    monkeypatch.setattr(trainer.loop.clock.os, "cpu_count", lambda: 2)
    own = 0.7
    readings = iter([(5.0, 1.0, 0.0), (5.0 + 10 * (others * 2 + own), 1.0 + 10 * own, 10.0)])
    monkeypatch.setattr(trainer.loop.clock, "_cpu_reading", lambda: next(readings))
    watch = ContentionMonitor(torch.device("cpu"))
    watch.begin()
    watch.end()
    contended, load = watch.contention()
    assert contended is verdict
    assert load == pytest.approx(others)
    assert watch.contention() == (None, None)  # nothing since


@pytest.mark.parametrize(("seconds", "verdict"), [(0.25, False), (0.35, True)])
def test_so_many_seconds_of_others_may_be_spared(
    monkeypatch: pytest.MonkeyPatch, seconds: float, verdict: bool
) -> None:
    readings = iter([(5.0, 1.0, 0.0), (5.5 + seconds, 1.5, 0.5)])
    monkeypatch.setattr(trainer.loop.clock, "_cpu_reading", lambda: next(readings))
    monkeypatch.setattr(trainer.loop.clock.os, "cpu_count", lambda: 2)
    watch = ContentionMonitor(torch.device("cpu"))
    watch.begin()
    watch.end()
    assert watch.contention(spared=0.3) == (verdict, pytest.approx(seconds))


OURS, MPS = f"{os.getpid()}, /usr/bin/python3", "77, /usr/bin/nvidia-cuda-mps-server"
OTHER = "4711, /usr/bin/python3"


@pytest.mark.parametrize(
    ("processes", "mode", "visible", "answer"),
    [
        ([OURS], "[N/A]", "0", False),
        ([OURS], "Disabled", "0", False),
        ([OURS, OTHER], "Disabled", "0", True),
        ([], "Disabled", "0", None),  # in a container: nothing is listed
        ([OTHER], "Disabled", "0", None),  # or only processes of the host
        ([OURS, MPS], "Disabled", "0", None),
        ([OURS, OTHER], "Enabled", "0", None),
        ([OURS], "Disabled", "MIG-1234", None),
    ],
)
def test_a_gpu_is_alone_only_where_this_process_is_seen_alone(
    processes: list[str], mode: str, visible: str, answer: bool | None,
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    program = tmp_path / "nvidia-smi"
    listed = "\n".join(processes)
    program.write_text(
        f"#!/bin/sh\ncase $1 in *compute-apps*) echo '{listed}';; *) echo '{mode}';; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert trainer.loop.clock.gpu_has_others() is answer


def test_without_nvidia_smi_nothing_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert trainer.loop.clock.gpu_has_others() is None
