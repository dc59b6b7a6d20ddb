"""fp16's loss scale: it changes no direction, skips what overflows, and is exact in a resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.resuming import whole_and_in_parts
from tests.support.small import small_config
from trainer.loop import loss_scale
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.loss_scale import LossScale
from trainer.loop.run import Run

CPU = torch.device("cpu")


def a_run(cache: Path, **changes: Any) -> Run:
    run = Run(small_config(cache, **{"sampler": "round_robin", "clip_norm": 0.1} | changes))
    run.begin_epoch(1)
    run.freeze("none")
    return run


def steps(run: Run, count: int) -> EpochMetrics:
    phase = run.plan(1)[0]
    metrics = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
    for step in phase.steps[:count]:
        run.step(phase, step, metrics)
    return metrics


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in run.model.state_dict().items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"combiner": "pcgrad"},
        {"combiner": "sum"},
        {"combiner": "torchjd.UPGrad"},
        {"combiner": "pcgrad", "accumulate": 2},
        {"combiner": "pcgrad", "smart_weight": 0.1},
    ],
    ids=lambda changes: "-".join(map(str, changes.values())),
)
def test_a_scale_changes_no_bit_where_nothing_rounds(cache: Path, changes: dict[str, Any]) -> None:
    """In fp32 a power of two changes exponents alone, through projection, clipping and update."""
    plain = a_run(cache, **changes)
    unscaled = steps(plain, 3)
    scaled = a_run(cache, **changes)
    scaled.stepper.loss_scale = LossScale(CPU)
    assert steps(scaled, 3).conflicts() == unscaled.conflicts()
    for name, value in weights(plain).items():
        assert torch.equal(weights(scaled)[name], value), name
    assert scaled.stepper.loss_scale.take_skipped() == 0


def test_a_step_that_overflows_is_left_out_and_counted(cache: Path) -> None:
    run = a_run(cache, combiner="pcgrad")
    run.stepper.loss_scale = scale = LossScale(CPU)
    steps(run, 1)
    before, optimizer = weights(run), run.optimizers.get("main")
    states = {key: value.clone() for s in optimizer.state.values() for key, value in s.items()}
    scale.factor.fill_(2.0**127)
    metrics = steps(run, 1)
    assert all(torch.equal(value, before[name]) for name, value in weights(run).items())
    now = {key: value for s in optimizer.state.values() for key, value in s.items()}
    assert all(torch.equal(now[key], value) for key, value in states.items())
    assert float(scale.factor) == 2.0**126
    assert scale.take_skipped() == 1 and scale.take_skipped() == 0
    assert metrics.conflicts()[0]["cosines"] == {}  # there is nothing to compare
    scale.factor.fill_(1.0)
    steps(run, 1)
    assert any(not torch.equal(value, before[name]) for name, value in weights(run).items())


@pytest.mark.parametrize("combiner", ["pcgrad", "torchjd.UPGrad", "torchjd.DualProj"])
def test_a_method_never_sees_numbers_that_are_not_finite(cache: Path, combiner: str) -> None:
    run = a_run(cache, combiner=combiner)
    run.stepper.loss_scale = LossScale(CPU)
    run.stepper.loss_scale.factor.fill_(2.0**127)
    steps(run, 2)
    assert run.stepper.loss_scale.take_skipped() == 2


def test_the_factor_follows_that_of_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss_scale, "GROWTH_INTERVAL", 3)
    ours = LossScale(CPU)
    theirs = torch.amp.GradScaler("cpu", init_scale=loss_scale.FIRST, growth_interval=3)
    parameter = torch.nn.Parameter(torch.zeros(4))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    for overflows in (0, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0):
        gradient = torch.full((4,), torch.inf if overflows else 1.0)
        theirs.scale(torch.zeros(()))
        parameter.grad = gradient.clone()
        theirs.step(optimizer)
        theirs.update()
        ours.unscale([gradient])
        ours.end_step()
        assert float(ours.factor) == theirs.get_scale()


def test_skipped_steps_are_exact_in_a_resume(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loss_scale, "FIRST", 2.0**33)
    monkeypatch.setattr(loss_scale, "GROWTH_INTERVAL", 5)
    config = small_config(cache, epochs=3, precision="fp16-emulated", combiner="pcgrad")
    whole, parts = whole_and_in_parts(config, tmp_path)
    assert whole[0]["skipped_updates"] > 0 and whole[1]["skipped_updates"] > 0
    assert parts == whole
