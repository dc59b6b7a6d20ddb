"""Rates, schedules and clipping against torch and transformers."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import transformers
from torch import nn

from tests.support.small import small_config
from trainer.config.choices import SCHEDULES
from trainer.loop.build import build_model
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.losses import task_loss
from trainer.samplers import Phase, Step

STILL = {"dropout": 0.0, "encoder_dropout": 0.0, "attention_dropout": 0.0}
THEIRS = {
    "constant": lambda optimizer, warm, total: transformers.get_constant_schedule_with_warmup(
        optimizer, warm
    ),
    "linear": transformers.get_linear_schedule_with_warmup,
    "cosine": transformers.get_cosine_schedule_with_warmup,
}


def take(run: Run, phase: Phase, step: Step) -> None:
    run.step(phase, step, EpochMetrics(list(run.tasks.values()), run.corpus.sizes()))


def a_run(cache: Path, **changes: object) -> Run:
    return Run(small_config(cache, **{"sampler": "round_robin", **changes}))


@pytest.mark.parametrize("warm", [0, 5])
@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_gives_the_rates_of_transformers(cache: Path, name: str, warm: int) -> None:
    run = a_run(cache, schedule=name, warmup_steps=warm, epochs=3)
    total = run._planned_updates(3)["main"]
    theirs = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=run.config.learning_rate)
    schedule = THEIRS[name](theirs, warm, total)
    if warm:
        theirs.step()
        schedule.step()  # the first update of their warm-up has the rate 0
    for update in range(total):
        if update == warm > 0:  # ours is one update ahead and has the full rate twice
            schedule = THEIRS[name](theirs, 0, total - warm)
        run.optimizers.set_rates("main")
        (group,) = run.optimizers.get("main").param_groups
        assert group["lr"] == pytest.approx(theirs.param_groups[0]["lr"], abs=1e-12)
        run.optimizers.updates["main"] += 1
        theirs.step()
        schedule.step()


@pytest.mark.parametrize("head_rate", [0.0, 0.02])
def test_each_layer_learns_at_a_share_of_the_rate_above_it(cache: Path, head_rate: float) -> None:
    run = a_run(
        cache, learning_rate=0.01, layer_decay=0.5, head_learning_rate=head_rate, shared_layer=True
    )
    layers = run.model.encoder.shape.layers
    expected = {"embeddings": 0.01 * 0.5**layers, "pooler": 0.01, "shared_layer": 0.01}
    expected |= {f"layers.{k}": 0.01 * 0.5 ** (layers - 1 - k) for k in range(layers)}
    expected |= {f"head.{task}": head_rate or 0.01 for task in run.tasks}
    run.optimizers.set_rates("main")
    optimizer = run.optimizers.get("main")
    rates = {id(v): group["lr"] for group in optimizer.param_groups for v in group["params"]}
    assert {s.name: rates[id(s.values)] for s in run.parameters.segments} == pytest.approx(expected)


def test_without_a_decay_all_parameters_are_one_group(cache: Path) -> None:
    assert len(a_run(cache).optimizers.get("main").param_groups) == 1


@pytest.mark.parametrize("length", [1e-3, 0.5, 1e6])
@pytest.mark.parametrize("freeze", ["none", "embeddings+layers:0"])
def test_an_update_is_clipped_as_torch_clips_it(cache: Path, freeze: str, length: float) -> None:
    """Against a model without flat storage: backward, then clip_grad_norm_."""
    run = a_run(cache, clip_norm=length, combiner="sum", freeze=freeze, **STILL)
    phase = run.plan(1)[0]
    theirs = build_model(run.config, run.corpus)
    theirs.load_state_dict(run.model.state_dict())
    for draw in phase.steps[0]:
        split = run.corpus.splits[draw.task]["train"]
        output = theirs(draw.task, split.packed(draw.rows))
        labels = torch.from_numpy(split.labels_of(draw.rows))
        task_loss(run.tasks[draw.task], output, labels).backward()
    run.freeze(freeze)
    expected = dict(theirs.named_parameters())
    for name, ours in run.model.named_parameters():
        if not ours.requires_grad:
            expected.pop(name).grad = None
    before = nn.utils.clip_grad_norm_(theirs.parameters(), length)
    assert (before > length) == (length < 1)
    take(run, phase, phase.steps[0])
    names = {id(parameter): name for name, parameter in run.model.named_parameters()}
    for segment in run.parameters.segments:
        sizes = [parameter.numel() for parameter in segment.parameters]
        for parameter, update in zip(segment.parameters, segment.update.split(sizes), strict=True):
            name = names[id(parameter)]
            if name in expected and "word" not in name:  # the update of words is cleared
                gradient = expected.pop(name).grad
                assert gradient is not None
                assert torch.allclose(update.view_as(gradient), gradient, rtol=1e-3, atol=1e-7)
    assert len(expected) <= 1


def test_adamw_has_the_epsilon_of_the_config(cache: Path) -> None:
    assert a_run(cache).optimizers.get("main").defaults["eps"] == 1e-8
    run = a_run(cache, adam_epsilon=1e-6)
    assert run.optimizers.get("main").defaults["eps"] == 1e-6
