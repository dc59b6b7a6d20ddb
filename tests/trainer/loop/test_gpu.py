"""What only a GPU can show: variable-length attention, recorded steps, no waiting in the loop,
and the same bits again."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.support.resuming import results
from tests.support.small import small_config
from trainer.combiners.pcgrad import projected_weights, projection_orders
from trainer.loop import determinism
from trainer.loop.cuda_graphs import Function, GraphCache, Tensors, _CudaCapture
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.attention.kernels import KERNELS, Kernel, disagreement
from trainer.model.dropout import Masks
from trainer.model.packing import Part, pack
from trainer.train import train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
if torch.cuda.is_available():  # before the first product of this process
    os.environ.setdefault(determinism.VARIABLE, determinism.VALUES[0])


@pytest.fixture(autouse=True)
def other_kernels_afterwards() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


def a_run(cache: Path, **changes: object) -> Run:
    plain = {"dropout": 0.0, "encoder_dropout": 0.0, "attention_dropout": 0.0, "batch_size": 4}
    usual = {"device": "cuda", "sampler": "round_robin", "precision": "auto"}
    return Run(small_config(cache, **{**usual, **plain, **changes}))


def take_steps(run: Run, epochs: int) -> None:
    run.freeze("none")
    tally = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
    for number in range(1, epochs + 1):
        run._order.manual_seed(number)
        for phase in run.plan(number):
            for step in phase.steps:
                run.step(phase, step, tally)
    torch.cuda.synchronize()


GPU = torch.device("cuda")
SERVED = [
    pytest.param(kernel, dtype, id=f"{kernel.name} {str(dtype).removeprefix('torch.')}")
    for kernel in KERNELS
    for dtype in kernel.since or ()
    if torch.cuda.is_available() and kernel.serves(GPU, dtype, 32)
]


@pytest.mark.parametrize(("kernel", "dtype"), SERVED)
@pytest.mark.parametrize("width", [32, 64])
def test_a_kernel_agrees_with_the_grids(kernel: Kernel, dtype: torch.dtype, width: int) -> None:
    assert disagreement(kernel, GPU, dtype, width) == ""


@pytest.mark.parametrize(("kernel", "dtype"), SERVED)
def test_a_kernel_drops_weights_and_scales_the_others(kernel: Kernel, dtype: torch.dtype) -> None:
    """The mean over many equal sentences is the output without dropout."""
    torch.manual_seed(0)
    copies, length, heads, width = 2_000, 12, 2, 32
    lengths = np.full(copies, length)
    packed = pack([Part(np.zeros(copies * length, int), lengths, lengths)]).to(GPU)
    one = torch.randn(length * 3 * heads, width, device="cuda")
    source = torch.zeros(packed.tokens * 3 * heads, width, device="cuda")
    source[: copies * len(one)] = one.repeat(copies, 1)
    plain, drawn = (
        kernel.forward(source.to(dtype), packed, heads, Masks(), drop, False)[0][: copies * length]
        .float().view(copies, length, -1)
        for drop in (0.0, 0.3)
    )  # fmt: skip
    error = drawn.std(0) / copies**0.5
    assert (drawn[0] - drawn[1]).abs().max() > 0.01
    assert ((drawn.mean(0) - plain[0]).abs() < 5 * error + 1e-2).all()


POOLINGS = {"pooling": {"sst": "mean", "qqp": "max"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"combiner": "pcgrad"},
        {"combiner": "sum"},
        POOLINGS,
        {"precision": "fp32"},
        {"precision": "fp16", "combiner": "pcgrad"},
    ],
    ids=["pcgrad", "sum", "pool", "fp32", "fp16"],
)
def test_recorded_steps_train_like_plain_ones(cache: Path, changes: dict[str, object]) -> None:
    recorded, plain = a_run(cache, **changes), a_run(cache, **changes)
    plain.stepper.graph_cache = None
    take_steps(recorded, 4)
    take_steps(plain, 4)
    assert recorded.stepper.graph_cache is not None and recorded.stepper.graph_cache.replayed > 0
    start = a_run(cache, **changes)
    for name, values in plain.model.state_dict().items():
        moved = (values - start.model.state_dict()[name]).float().flatten()
        also = (recorded.model.state_dict()[name] - start.model.state_dict()[name]).float()
        if moved.norm() > 0:
            assert torch.cosine_similarity(moved, also.flatten(), dim=0) > 0.98, name


@pytest.mark.parametrize("where", ["dropout", "attention_dropout"])
def test_a_recorded_step_draws_new_dropout_masks_every_time(cache: Path, where: str) -> None:
    run = a_run(cache, **{where: 0.5}, learning_rate=1e-12)
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
        POOLINGS,
        {
            "pair": "siamese",
            "pair_loss": {"qqp": "multiple_negatives", "sts": "cosine_embedding"},
            "class_weights": "balanced",
            "task_declarations": {"sts": {"loss": "pearson"}},
        },
    ],
    ids=["plain", "poolings", "pair losses and class weights"],
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


#: All random numbers of a step, and kernels that give the same bits again.
EXACT = {
    "deterministic": True, "dropout": 0.1, "encoder_dropout": 0.1, "attention_dropout": 0.2,
}  # fmt: skip


class Plain(GraphCache):
    """Records nothing.  Without a cache the optimizer rounds its rate differently."""

    def run(self, key: Hashable, inputs: Tensors, function: Function) -> Tensors:
        return function(inputs)


def trained(run: Run, epochs: int = 4) -> dict[str, torch.Tensor]:
    """The weights after so many epochs, whose random numbers follow from the seed."""
    run.freeze("none")
    tally = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
    for number in range(1, epochs + 1):
        run.begin_epoch(number)
        for phase in run.plan(number):
            for step in phase.steps:
                run.step(phase, step, tally)
    torch.cuda.synchronize()
    return {name: values.clone() for name, values in run.model.state_dict().items()}


def assert_same_bits(some: dict[str, torch.Tensor], others: dict[str, torch.Tensor]) -> None:
    different = [name for name, values in some.items() if not torch.equal(values, others[name])]
    assert different == []


@pytest.fixture(params=["auto", "fp32", "fp16"])
def exact(request: pytest.FixtureRequest) -> dict[str, object]:
    return {**EXACT, "precision": request.param}


def test_deterministic_runs_end_with_the_same_bits_recorded_or_not(
    cache: Path, exact: dict[str, object]
) -> None:
    first, second, plain = (a_run(cache, **exact) for _ in range(3))
    assert first.stepper.graph_cache is not None
    plain.stepper.graph_cache = Plain(_CudaCapture())
    weights = trained(first)
    assert first.stepper.graph_cache.replayed > 0
    assert_same_bits(weights, trained(second))
    assert_same_bits(weights, trained(plain))


def test_a_deterministic_trial_resumes_to_the_same_bits(
    cache: Path, tmp_path: Path, exact: dict[str, object]
) -> None:
    config = a_run(cache, **exact, epochs=3).config
    for _ in train(config, str(tmp_path / "whole")):
        pass
    next(train(config, str(tmp_path / "parts")))
    for _ in train(config, str(tmp_path / "parts")):
        pass
    assert results(tmp_path / "parts") == results(tmp_path / "whole")


def test_graphs_that_make_room_for_others_change_nothing(
    cache: Path, exact: dict[str, object]
) -> None:
    """Steps of many sizes, and a cache of two graphs."""
    changes = {**exact, "sampler": "annealed", "B": 96, "batch_size": 2, "draws_per_step": 5}
    small, large = (a_run(cache, **changes) for _ in range(2))
    captured = 0
    record = _CudaCapture()

    def counted(function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        nonlocal captured
        captured += 1
        return record(function, inputs)

    small.stepper.graph_cache = GraphCache(counted, max_graphs=2)
    assert_same_bits(trained(small, 8), trained(large, 8))
    assert captured > 2 and small.stepper.graph_cache.graphs == 2


def test_steps_behind_a_failed_capture_are_those_of_a_plain_run(
    cache: Path, exact: dict[str, object]
) -> None:
    failing, plain = a_run(cache, **exact), a_run(cache, **exact)
    record = _CudaCapture()

    def fails(function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        def waits(tensors: Tensors) -> Tensors:
            made = function(tensors)
            torch.cuda.synchronize()  # which a capture forbids
            return made

        return record(waits, inputs)

    failing.stepper.graph_cache = GraphCache(fails)
    plain.stepper.graph_cache = Plain(_CudaCapture())
    with pytest.warns(UserWarning, match="not captured as CUDA graphs"):
        weights = trained(failing)
    assert failing.stepper.notes()["recording_problem"]
    assert_same_bits(weights, trained(plain))
