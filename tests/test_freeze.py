"""A frozen parameter does not move at all."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from small import small_config
from trainer.freeze import frozen_segments
from trainer.tally import Tally
from trainer.train import Run


def train_phase(run: Run, frozen: str, sampler_phase: int) -> None:
    names = [segment.name for segment in run.parameters.segments]
    phase = run.plan(1)[sampler_phase]
    run.parameters.freeze(frozen_segments(frozen, names))
    for step in phase.steps:
        run.step(phase, step, Tally(list(run.tasks.values()), run.corpus.sizes()))


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
def test_frozen_parameters_are_identical_to_the_bit(cache: Path, weight_decay: float) -> None:
    """Phase 1 leaves momentum behind; phase 2 must not spend it, nor decay what is frozen."""
    run = Run(small_config(cache, weight_decay=weight_decay))
    train_phase(run, "none", 0)
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    moments = {
        segment.name: run.optimizer.state[segment.values]["exp_avg"].clone()
        for segment in run.parameters.segments
    }
    train_phase(run, "encoder", 1)
    moved = {n for n, t in run.model.state_dict().items() if not torch.equal(t, before[n])}
    assert moved == {"heads.qqp.weight", "heads.qqp.bias"}
    for segment in run.parameters.segments:
        same = torch.equal(run.optimizer.state[segment.values]["exp_avg"], moments[segment.name])
        assert same == (segment.name != "head.qqp"), segment.name


def test_without_a_frozen_set_everything_drawn_moves(cache: Path) -> None:
    run = Run(small_config(cache))
    before = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    train_phase(run, "none", 0)
    still = {n for n, t in run.model.state_dict().items() if torch.equal(t, before[n])}
    assert still == set()


def test_a_frozen_encoder_runs_no_backward(cache: Path) -> None:
    run = Run(small_config(cache))
    run.parameters.freeze(frozen_segments("encoder", [s.name for s in run.parameters.segments]))
    packed = run.corpus.splits["qqp"]["train"].packed(torch.arange(4).numpy())
    assert not run.model.encoder(packed)[1].requires_grad
    assert run.forward("qqp", packed).requires_grad


def test_thawed_parameters_move_again(cache: Path) -> None:
    run = Run(small_config(cache))
    train_phase(run, "encoder", 1)
    before = run.model.encoder.pooler.weight.clone()
    train_phase(run, "none", 1)
    assert not torch.equal(run.model.encoder.pooler.weight, before)
