"""Accumulation: an update of several passes is the update of one batch so many times as large."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from tests.support.resuming import whole_and_in_parts
from tests.support.small import small_config
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.samplers import Draw, Phase, Step, accumulate, passes_of
from trainer.train import train_epoch

STILL = {"dropout": 0.0, "encoder_dropout": 0.0, "attention_dropout": 0.0}


def a_run(cache: Path, **changes: Any) -> Run:
    return Run(small_config(cache, **{"sampler": "round_robin", **STILL, **changes}))


def update_of(run: Run, phase: Phase, step: Step) -> dict[str, torch.Tensor]:
    """The update of every segment that moves, before the optimizer sees it."""
    found: dict[str, torch.Tensor] = {}
    end_step = run.parameters.end_step

    def watched(words: torch.Tensor) -> None:
        segments = run.parameters.segments
        found.update({s.name: s.update.clone() for s in segments if s.values.grad is not None})
        end_step(words)

    run.freeze(phase.frozen)
    run._order.manual_seed(0)
    with mock.patch.object(run.parameters, "end_step", watched):
        run.step(phase, step, EpochMetrics(list(run.tasks.values()), run.corpus.sizes()))
    return found


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"combiner": "sum", "shared_layer": True, "relational_layer": True},
        {"combiner": "mean", "sampler": "proportional", "draws_per_step": 1},
        {"combiner": "torchjd.UPGrad", "pair": "siamese"},
        {"combiner": "sequential_step"},
        {
            "surgery_groups": {"sst": "main", "sts": "main"},
            "batch_size": {"sst": 3, "qqp": 5, "sts": 2},
        },
        {"sampler": "arrp", "freeze": "encoder", "lambda": 0.5, "B": 40},
        {"sampler": "interleaved", "clip_norm": 0.1},
    ],
    ids=str,
)  # fmt: skip
def test_an_update_is_that_of_a_larger_batch(cache: Path, changes: dict[str, Any]) -> None:
    run = a_run(cache, accumulate=3, **changes)
    for phase in run.plan(1):
        for step in (phase.steps[0], phase.steps[-1]):  # the last one takes what is left
            whole = tuple(replace(draw, passes=()) for draw in step)
            values = [segment.values.clone() for segment in run.parameters.segments]
            run.optimizers.states.clear()
            accumulated = update_of(run, phase, step)
            for segment, before in zip(run.parameters.segments, values, strict=True):
                segment.values.copy_(before)
            at_once = update_of(run, phase, whole)
            assert accumulated.keys() == at_once.keys()
            for name, update in at_once.items():
                assert torch.allclose(accumulated[name], update, rtol=1e-3, atol=2e-6), name


@pytest.mark.parametrize("surgery", ["pcgrad", "sum"])
def test_the_first_pass_overwrites_what_stood_in_the_rows(cache: Path, surgery: str) -> None:
    """Nobody reads the rows of the step before, and nobody clears them."""
    run = a_run(cache, accumulate=3, combiner=surgery, pair="siamese")
    phase = run.plan(1)[0]
    words = run.parameters._word.numel()
    values = [segment.values.clone() for segment in run.parameters.segments]
    expected = update_of(run, phase, phase.steps[0])
    for segment, before in zip(run.parameters.segments, values, strict=True):
        segment.values.copy_(before)
    run.optimizers.states.clear()
    run.parameters.jacobian[:, : len(run.parameters._dense_update)] = 7.0
    run.parameters._update[words:] = 7.0
    with mock.patch.object(run.parameters, "freeze"):  # it clears the rows
        found = update_of(run, phase, phase.steps[0])
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], update) for name, update in expected.items())


def test_round_robin_with_accumulation_is_round_robin_with_larger_batches(cache: Path) -> None:
    still = {"adam_epsilon": 1e-2, "schedule": "cosine", "warmup_steps": 2}
    larger = a_run(cache, batch_size=8, **still)
    accumulated = a_run(cache, batch_size=4, accumulate=2, **still)
    records = [[train_epoch(run, number)[0] for number in (1, 2)] for run in (larger, accumulated)]
    for one, other in zip(*records, strict=True):
        assert one["updates"] == other["updates"] == 4
        assert one["examples"] == other["examples"]
        assert other["train_loss"] == pytest.approx(one["train_loss"], rel=1e-4)
        assert other["cosines"] == pytest.approx(one["cosines"], abs=1e-4)
        assert other["dev_score"] == pytest.approx(one["dev_score"], abs=2e-3)
        for task, values in one["tasks"].items():
            assert other["tasks"][task]["train_metric"] == pytest.approx(
                values["train_metric"], abs=1e-3
            )
    assert torch.allclose(larger.parameters._values, accumulated.parameters._values, atol=1e-5)


def as_lists(step: Step) -> list[tuple[str, list[int]]]:
    return sorted((draw.task, draw.rows.tolist()) for draw in step)


@pytest.mark.parametrize("sampler", ["arrp", "annealed", "sequential", "interleaved", "cycle"])
def test_every_example_of_the_steps_is_in_the_updates(cache: Path, sampler: str) -> None:
    plain, accumulated = (a_run(cache, sampler=sampler, accumulate=k) for k in (1, 4))
    for phase, joined in zip(plain.plan(2), accumulated.plan(2), strict=True):
        assert len(joined.steps) == -(-len(phase.steps) // 4)
        assert joined.examples == phase.examples
        assert replace(joined, steps=()) == replace(phase, steps=())
        passes = [part for step in joined.steps for part in passes_of(step)]
        assert list(map(as_lists, passes)) == list(map(as_lists, phase.steps))
    totals = [run._planned_updates(2).total() for run in (plain, accumulated)]
    assert totals[0] / 4 <= totals[1] < totals[0]


@pytest.mark.parametrize(("steps", "count"), [(7, 3), (8, 3), (9, 3), (2, 5), (7, 1)])
def test_the_last_update_takes_the_steps_that_are_left(steps: int, count: int) -> None:
    phase = Phase("main", [(Draw("sst", np.array([number])),) for number in range(steps)])
    rows = [step[0].rows.tolist() for step in accumulate(phase, count).steps]
    assert rows == [list(range(steps))[start : start + count] for start in range(0, steps, count)]


def test_a_step_for_each_task_accumulates_the_batches_of_its_task(cache: Path) -> None:
    (phase,) = a_run(cache, combiner="sequential_step", accumulate=2).plan(1)
    assert [[draw.task for draw in step] for step in phase.steps[:3]] == [["sst"], ["qqp"], ["sts"]]
    assert all(len(step[0].rows) == 16 and step[0].passes == (8, 8) for step in phase.steps)


def test_a_trial_that_accumulates_resumes_to_the_same_bits(cache: Path, tmp_path: Path) -> None:
    config = small_config(
        cache, epochs=3, accumulate=3, sampler="arrp", schedule="cosine", warmup_steps=2,
        clip_norm=0.5, layer_decay=0.8, adam_epsilon=1e-6, smart_weight=0.5, batch_size=4,
    )  # fmt: skip
    whole, parts = whole_and_in_parts(config, tmp_path)
    assert parts == whole
