"""SMART: both terms against their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small import small_config
from trainer.config.tasks import TASKS
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.losses import loss_of
from trainer.samplers import Phase


def a_run(cache: Path, **changes: object) -> Run:
    return Run(small_config(cache, **changes))


@pytest.mark.parametrize("name", ["sst", "qqp", "sts"])
def test_the_divergence_is_symmetric_kl_or_squared_difference(name: str) -> None:
    task = TASKS[name]
    generator = torch.Generator().manual_seed(0)
    shape = (7, 5) if name == "sst" else (7,)
    a, b = (torch.randn(shape, generator=generator).double() for _ in range(2))
    if name == "sts":
        expected = ((a - b) ** 2).mean()
    else:
        if name == "qqp":
            p, q = (torch.stack([1 - x.sigmoid(), x.sigmoid()], -1) for x in (a, b))
        else:
            p, q = a.softmax(-1), b.softmax(-1)
        expected = ((p * (p / q).log()).sum(-1) + (q * (q / p).log()).sum(-1)).mean()
    assert torch.allclose(loss_of(task).divergence(a, b), expected)
    assert torch.allclose(loss_of(task).divergence(b, a), expected)
    assert loss_of(task).divergence(a, a).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("norm", "order"), [("inf", torch.inf), ("l2", 2)])
def test_the_perturbation_stays_in_its_ball_and_is_worse_than_chance(
    cache: Path, norm: str, order: float
) -> None:
    run = a_run(
        cache, smart_weight=1.0, smart_norm=norm, smart_epsilon=0.5, smart_step_size=1.0,
        smart_noise=0.01, smart_steps=3,
    )  # fmt: skip
    run.model.eval()
    task, packed = run.tasks["sst"], run.corpus.splits["sst"]["train"].packed(np.arange(16))
    output = run.model("sst", packed).detach()
    shift = run.smart._worst_shift(task, packed, output)
    sizes = torch.linalg.vector_norm(shift, ord=order, dim=-1)
    assert sizes.max() <= 0.5 + 1e-5
    random = torch.randn_like(shift)
    random *= (sizes / torch.linalg.vector_norm(random, ord=order, dim=-1))[:, None]
    with torch.no_grad():
        worst, chance = (
            loss_of(task).divergence(run.model("sst", packed, s), output) for s in (shift, random)
        )
    assert worst > 2 * chance


def test_the_penalty_leaves_no_gradient_behind_but_its_own(cache: Path) -> None:
    """The inner maximisation must not write into the rows of J; dropout is off in both terms."""
    run = a_run(cache, smart_weight=1.0, dropout=0.5)
    task, packed = run.tasks["sst"], run.corpus.splits["sst"]["train"].packed(np.arange(8))
    run.parameters.begin_step(1, ["sst"], packed.words, accumulates=True)

    def gradients() -> float:
        run.parameters.combine(None, packed.words)
        return sum(float(segment.update.abs().sum()) for segment in run.parameters.segments)

    torch.manual_seed(0)
    first = run.smart.penalty(task, packed)
    assert gradients() == 0
    assert run.model.training
    torch.manual_seed(0)
    again = run.smart.penalty(task, packed)
    assert torch.equal(first, again)
    first.backward()
    assert gradients() > 0


def test_the_slow_copy_follows_with_its_momentum(cache: Path) -> None:
    run = a_run(cache, bregman_weight=1.0, bregman_momentum=0.9)
    assert run.smart.slow is not None
    start = run.model.encoder.pooler.weight.clone()
    packed = run.corpus.splits["sst"]["train"].packed(np.arange(8))
    at_start = run.smart.penalty(run.tasks["sst"], packed)
    assert at_start.item() == pytest.approx(0, abs=1e-6)
    phase = run.plan(1)[0]
    short = Phase(phase.name, phase.steps[:1])
    run.step(short, short.steps[0], EpochMetrics(list(run.tasks.values()), run.corpus.sizes()))
    moved = run.model.encoder.pooler.weight
    expected = 0.1 * moved + 0.9 * start
    assert torch.allclose(run.smart.slow.encoder.pooler.weight, expected, atol=1e-7)
    later = run.smart.penalty(run.tasks["sst"], packed)
    assert later.item() > 0


def test_without_weights_nothing_is_computed(cache: Path) -> None:
    run = a_run(cache)
    assert not run.smart.acts
    assert run.smart.slow is None
