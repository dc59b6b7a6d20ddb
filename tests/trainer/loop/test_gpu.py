"""What only a GPU can show: variable-length attention, recorded steps, no waiting in the loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.small import small_config
from trainer.combiners.pcgrad import projected_weights, projection_orders
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.attention import _grids, _grids_backward, _varlen, _varlen_backward
from trainer.model.dropout import Masks
from trainer.model.packing import Part, pack

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def a_run(cache: Path, **changes: object) -> Run:
    # Heads 32 wide: the variable-length kernels want a multiple of eight.
    return Run(
        small_config(
            cache, device="cuda", precision="bf16", sampler="round_robin",
            **{"dropout": 0.0, "encoder_dropout": 0.0, "attention_dropout": 0.0,
               "batch_size": 4} | changes,
        )
    )  # fmt: skip


def take_steps(run: Run, epochs: int) -> None:
    run.freeze("none")
    tally = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
    for number in range(1, epochs + 1):
        run._order.manual_seed(number)
        for phase in run.plan(number):
            for step in phase.steps:
                run.step(phase, step, tally)
    torch.cuda.synchronize()


@pytest.mark.parametrize("first_only", [False, True])
def test_variable_length_kernels_agree_with_grids(first_only: bool) -> None:
    torch.manual_seed(0)
    lengths = np.array([7, 30, 3, 64, 12])
    packed = pack([Part(np.arange(lengths.sum()), lengths, lengths)]).to(torch.device("cuda"))
    heads, width = 4, 32
    rows = packed.tokens * 3 if not first_only else packed.sentences + packed.tokens * 2
    source = torch.randn(rows * heads, width, device="cuda").bfloat16()
    ours, saved = _varlen(source, packed, heads, 0.0, first_only)
    grid, kept = _grids(source, packed, heads, Masks(), 0.0, first_only)
    real = slice(0, packed.sentences if first_only else int(lengths.sum()))
    assert torch.allclose(ours[real].float(), grid[real].float(), atol=2e-2)
    gradient = torch.zeros_like(ours)
    gradient[real] = torch.randn_like(gradient[real])
    back = _varlen_backward(gradient, saved, packed, first_only).view(-1, width)
    grid_back = _grids_backward(gradient, kept, packed, heads, first_only)
    assert torch.allclose(back.float(), grid_back.float(), atol=5e-2)


@pytest.mark.parametrize("combiner", ["pcgrad", "sum"])
def test_recorded_steps_train_like_plain_ones(cache: Path, combiner: str) -> None:
    recorded, plain = a_run(cache, combiner=combiner), a_run(cache, combiner=combiner)
    plain.stepper.graph_cache = None
    take_steps(recorded, 4)
    take_steps(plain, 4)
    assert recorded.stepper.graph_cache is not None and recorded.stepper.graph_cache.replayed > 0
    start = a_run(cache, combiner=combiner)
    for name, values in plain.model.state_dict().items():
        moved = (values - start.model.state_dict()[name]).float().flatten()
        also = (recorded.model.state_dict()[name] - start.model.state_dict()[name]).float()
        if moved.norm() > 0:
            assert torch.cosine_similarity(moved, also.flatten(), dim=0) > 0.98, name


def test_a_recorded_step_draws_new_dropout_masks_every_time(cache: Path) -> None:
    run = a_run(cache, dropout=0.5, learning_rate=1e-12)
    run.freeze("none")
    phase = run.plan(1)[0]
    losses = []
    for _ in range(8):
        tally = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
        run.step(phase, phase.steps[0], tally)
        with run.on_stream():
            losses.append(tally.last_losses()["sst"])
    assert run.stepper.graph_cache is not None and run.stepper.graph_cache.replayed > 0
    assert len(set(losses)) == len(losses)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "pair": "siamese",
            "pair_loss": {"qqp": "multiple_negatives", "sts": "cosine_embedding"},
            "class_weights": "balanced",
            "task_declarations": {"sts": {"loss": "pearson"}},
        },
    ],
    ids=["plain", "pair losses and class weights"],
)
def test_no_step_waits_for_the_gpu(cache: Path, changes: dict[str, object]) -> None:
    run = a_run(cache, **changes)
    take_steps(run, 1)
    run.stepper.graph_cache = None  # what a graph holds cannot wait in any case
    phase = run.plan(1)[0]
    tally = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in phase.steps[:3]:
            run.step(phase, step, tally)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_projections_on_the_device_are_those_of_the_host() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        rows = torch.randn(3, 5, generator=generator)
        orders = projection_orders(3, generator)
        host = projected_weights(rows @ rows.T, orders)
        device = projected_weights((rows @ rows.T).cuda(), orders.cuda())
        assert torch.allclose(host, device.cpu(), atol=1e-6)
