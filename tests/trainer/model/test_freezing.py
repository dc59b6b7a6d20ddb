"""Frozen sets: a frozen parameter does not move at all, everything else does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.support.small import small_config
from trainer.config import check
from trainer.loop.build import check_methods
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.freezing import FreezeError, frozen_segments

LAYERS = ["layers.0", "layers.1"]
#: Set -> the segments of the tiny model (2 layers) that it freezes.
SETS = {
    "none": [],
    "embeddings": ["embeddings"],
    "layers:0": ["layers.0"],
    "layers:0-1": LAYERS,
    "pooler": ["pooler"],
    "embeddings+layers:0": ["embeddings", "layers.0"],
    "bert": ["embeddings", *LAYERS, "pooler"],
    "encoder": ["embeddings", *LAYERS, "pooler", "shared_layer", "relational_layer"],
}


def a_run(cache: Path, **changes: object) -> Run:
    return Run(small_config(cache, shared_layer=True, relational_layer=True, **changes))


def names_of(run: Run) -> list[str]:
    return [segment.name for segment in run.parameters.segments]


def train_phase(run: Run, frozen: str, index: int) -> None:
    phase = run.plan(1)[index]
    run.parameters.freeze(frozen_segments(frozen, names_of(run)))
    for step in phase.steps:
        run.step(phase, step, EpochMetrics(list(run.tasks.values()), run.corpus.sizes()))


def copies(run: Run) -> dict[str, tuple[torch.Tensor, ...]]:
    """Each segment's values and both AdamW moments."""
    state = run.optimizers.get("main").state
    return {
        segment.name: (
            segment.values.clone(),
            state[segment.values]["exp_avg"].clone(),
            state[segment.values]["exp_avg_sq"].clone(),
        )
        for segment in run.parameters.segments
    }


@pytest.mark.parametrize("weight_decay", [0.0, 0.5])
@pytest.mark.parametrize("name", SETS)
def test_frozen_is_identical_to_the_bit_and_all_else_moves(
    cache: Path, name: str, weight_decay: float
) -> None:
    """Phase 1 leaves momentum behind; a frozen phase must not spend it, nor decay."""
    run = a_run(cache, weight_decay=weight_decay)
    train_phase(run, "none", 0)
    before = copies(run)
    train_phase(run, name, 0)
    after = copies(run)
    for segment in names_of(run):
        same = [torch.equal(a, b) for a, b in zip(before[segment], after[segment], strict=True)]
        assert all(same) if segment in SETS[name] else not any(same), segment


def test_a_phase_of_one_task_leaves_the_other_heads_alone(cache: Path) -> None:
    run = a_run(cache, weight_decay=0.5)
    train_phase(run, "none", 0)
    before = copies(run)
    train_phase(run, "encoder", 1)
    after = copies(run)
    moved = {n for n in before if not torch.equal(before[n][0], after[n][0])}
    assert moved == {"head.qqp"}


def test_a_layer_that_no_drawn_task_uses_does_not_move(cache: Path) -> None:
    run = a_run(cache, weight_decay=0.5, sampler="single_task", train_task="sst")
    before = {s.name: s.values.clone() for s in run.parameters.segments}
    train_phase(run, "none", 0)
    still = {s.name for s in run.parameters.segments if torch.equal(s.values, before[s.name])}
    assert still == {"relational_layer", "head.qqp", "head.sts"}


def test_a_frozen_encoder_runs_no_backward(cache: Path) -> None:
    run = a_run(cache)
    run.parameters.freeze(frozen_segments("encoder", names_of(run)))
    packed = run.corpus.splits["qqp"]["train"].packed(torch.arange(4).numpy())
    assert not run.model.encoder(packed).requires_grad
    assert run.model("qqp", packed).requires_grad


def test_thawed_parameters_move_again(cache: Path) -> None:
    run = a_run(cache)
    train_phase(run, "encoder", 1)
    before = run.model.encoder.pooler.weight.clone()
    train_phase(run, "none", 1)
    assert not torch.equal(run.model.encoder.pooler.weight, before)


def test_a_layer_that_is_not_there_is_said_before_training(cache: Path) -> None:
    with pytest.raises(FreezeError, match="names layers.2, which this model lacks.*layers 0 to 1"):
        check_methods(small_config(cache, freeze="layers:0-2"))


@pytest.mark.parametrize("name", ["all", "layers", "layers:2-1", "layers:a", "encoder+x", ""])
def test_unknown_sets_are_mistakes_of_the_config(name: str) -> None:
    _, problems = check({"freeze": name})
    assert [problem.key for problem in problems] == ["freeze"]
    assert "layers:0-5" in problems[0].allowed
