"""Recorded steps, against the same steps taken directly.

A fake stands for CUDA graphs: like one it runs nothing while it records, reads the recorded memory
at every replay and returns the same memory each time.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import trainer.model.transformer_layer
from tests.support.small import small_config
from trainer.loop.cuda_graphs import WARM_UP_RUNS, Function, GraphCache, Tensors
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.loop.run import Run
from trainer.model.dropout import Masks
from trainer.model.packing import Packed
from trainer.samplers import Draw, Phase, Step
from trainer.train import train_epoch


def fake(function: Function, inputs: Tensors) -> Callable[[], Tensors]:
    outputs: Tensors = {}

    def replay() -> Tensors:
        for name, tensor in function(inputs).items():
            outputs.setdefault(name, torch.empty_like(tensor)).copy_(tensor)
        return outputs

    return replay


class Counting:
    """Functions of tensors that count their runs; each key has a function of its own."""

    def __init__(self) -> None:
        self.runs = 0
        self.captured = 0

    def capture(self, function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        self.captured += 1
        return fake(function, inputs)

    def of(self, key: int) -> Function:
        def function(tensors: Tensors) -> Tensors:
            self.runs += 1
            return {"sum": (tensors["x"] + key).sum(), "product": tensors["x"] * tensors["y"] * key}

        return function


def some(key: int) -> Tensors:
    return {"x": torch.randn(key + 2), "y": torch.randn(key + 2)}


def test_results_are_those_of_direct_calls_and_stay() -> None:
    torch.manual_seed(0)
    calls, graph_cache = Counting(), GraphCache(fake)
    kept = []
    for key in torch.randint(4, (60,)).tolist():
        inputs = some(key)
        before = {name: tensor.clone() for name, tensor in inputs.items()}
        made = graph_cache.run(key, inputs, calls.of(key))
        kept.append((made, calls.of(key)(before)))
        assert all(torch.equal(inputs[name], tensor) for name, tensor in before.items())
    assert graph_cache.replayed > 30
    for made, expected in kept:
        assert made.keys() == expected.keys()
        assert all(torch.equal(made[name], tensor) for name, tensor in expected.items())


def test_a_key_is_recorded_when_it_came_up_often_enough() -> None:
    calls = Counting()
    graph_cache = GraphCache(calls.capture)
    for number in range(1, WARM_UP_RUNS + 4):
        for key in (0, 1):
            graph_cache.run(key, some(key), calls.of(key))
        replays = max(0, number - WARM_UP_RUNS)
        assert calls.captured == graph_cache.graphs == (2 if replays else 0)
        assert graph_cache.replayed == 2 * replays
        assert calls.runs == 2 * number


def test_the_recording_longest_unused_goes_first() -> None:
    calls = Counting()
    graph_cache = GraphCache(calls.capture, max_graphs=2)

    def run(key: int, times: int = 1) -> int:
        """How many recordings it took."""
        before = calls.captured
        for _ in range(times):
            graph_cache.run(key, some(key), calls.of(key))
        assert graph_cache.graphs <= 2
        return calls.captured - before

    assert [run(key, WARM_UP_RUNS + 1) for key in (0, 1)] == [1, 1]
    assert run(0) == 0  # so 1 is the older one now
    assert run(2, WARM_UP_RUNS + 1) == 1
    assert [run(key) for key in (0, 2)] == [0, 0]
    assert run(1, WARM_UP_RUNS + 1) == 1


def test_what_cannot_be_recorded_runs_directly() -> None:
    def refuse(function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        raise RuntimeError("no memory")

    calls, graph_cache = Counting(), GraphCache(refuse)
    with pytest.warns(UserWarning, match="not captured as CUDA graphs: no memory") as warned:
        for _ in range(WARM_UP_RUNS + 3):
            inputs = some(1)
            made = graph_cache.run(1, inputs, calls.of(1))
            assert torch.equal(made["product"], inputs["x"] * inputs["y"])
    assert len(warned) == 1 and graph_cache.graphs == graph_cache.replayed == 0
    assert calls.runs == WARM_UP_RUNS + 3 and graph_cache.problem == "no memory"


def test_a_failed_recording_lets_go_of_the_others() -> None:
    def record_one(function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        if graph_cache.graphs:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return lambda: function(inputs)

    calls, graph_cache = Counting(), GraphCache(record_one)
    for _ in range(WARM_UP_RUNS + 1):
        graph_cache.run(1, some(1), calls.of(1))
    assert graph_cache.graphs == 1
    with pytest.warns(UserWarning, match="not captured"):
        for _ in range(WARM_UP_RUNS + 1):
            graph_cache.run(2, some(2), calls.of(2))
    assert graph_cache.graphs == 0
    assert graph_cache.problem == "operation not permitted when stream is capturing"


@pytest.mark.filterwarnings("ignore:steps are not captured")
def test_an_epochs_record_tells_that_recording_ended(cache: Path) -> None:
    def refuse(function: Function, inputs: Tensors) -> Callable[[], Tensors]:
        raise RuntimeError("no memory")

    run = Run(small_config(cache, sampler="round_robin", dropout=0.0))
    assert "recording_problem" not in train_epoch(run, 1)[0]
    run.stepper.graph_cache = GraphCache(refuse)
    run.stepper.align = 512  # so that sizes come up again
    assert train_epoch(run, 2)[0]["recording_problem"] == "no memory"


def dense_attend(
    source: Tensor, packed: Packed, heads: int, masks: Masks, drop: float, first_only: bool = False
) -> tuple[Tensor, Any]:
    """Attention that knows sentences from tensors alone, like a GPU's kernels."""
    leaf = source.detach().requires_grad_()
    with torch.enable_grad():
        if first_only:
            hidden = leaf.numel() // (packed.sentences + 2 * packed.tokens)
            queries = packed.sentences * hidden
            query = leaf.view(-1)[:queries].view(-1, heads, hidden // heads)
            rest = leaf.view(-1)[queries:].view(-1, 2, heads, hidden // heads)
            key, value = rest.unbind(1)
        else:
            query, key, value = leaf.view(packed.tokens, 3, heads, -1).unbind(1)
        of_query = segments(packed.first_bounds if first_only else packed.bounds, len(query))
        apart = of_query[:, None] != segments(packed.bounds, len(key))
        scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
        weights = scores.masked_fill(apart, -torch.inf).softmax(-1)
        mixed = torch.einsum("hqk,khd->qhd", weights, value).flatten(1)
    return mixed.detach(), (leaf, mixed)


def dense_attend_backward(
    gradient: Tensor, saved: Any, packed: Packed, heads: int, first_only: bool = False
) -> Tensor:
    leaf, mixed = saved
    (found,) = torch.autograd.grad(mixed, leaf, gradient)
    return found


def segments(bounds: Tensor, count: int) -> Tensor:
    """The stretch between two bounds in which each of so many places lies."""
    return torch.searchsorted(bounds, torch.arange(count), right=True, out_int32=True)


class Direct(GraphCache):
    """Captures nothing.  Without a cache the optimizer rounds its rate differently."""

    def run(self, key: Hashable, inputs: Tensors, function: Function) -> Tensors:
        return function(inputs)


@pytest.fixture
def like_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.model.transformer_layer, "attend", dense_attend)
    monkeypatch.setattr(trainer.model.transformer_layer, "attend_backward", dense_attend_backward)


def a_run(cache: Path, align: int, graph_cache: GraphCache, **changes: Any) -> Run:
    run = Run(
        small_config(cache, dropout=0.0, encoder_dropout=0.0, attention_dropout=0.0, **changes)
    )
    run.stepper.align = align
    run.stepper.graph_cache = graph_cache
    run._order.manual_seed(5)
    return run


def take(run: Run, steps: list[tuple[Phase, Step]]) -> list[Tensor]:
    """What the run reports of every step: losses, and cosines of gradients."""
    reported, frozen = [], None
    for phase, step in steps:
        if phase.frozen != frozen:
            frozen = phase.frozen
            run.freeze(frozen)
        tally = EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
        run.step(phase, step, tally)
        cosines = tally.conflicts()[0]["cosines"]
        reported.append(torch.tensor([*tally.last_losses().values(), *cosines.values()]))
    return reported


def assert_same_bits(direct: Run, recorded: Run, steps: list[tuple[Phase, Step]]) -> None:
    for report, other in zip(take(direct, steps), take(recorded, steps), strict=True):
        assert torch.equal(report, other)
    weights = recorded.model.state_dict()
    for name, expected in direct.model.state_dict().items():
        assert torch.equal(weights[name], expected), name


@pytest.mark.parametrize(
    "changes",
    [
        {"sampler": "round_robin"},
        {"sampler": "round_robin", "combiner": "sum"},
        {"sampler": "annealed", "B": 64},
        {"sampler": "round_robin", "accumulate": 2, "clip_norm": 0.5, "shared_layer": True},
        {"sampler": "arrp", "B": 20, "freeze": "encoder", "shared_layer": True},
        {"sampler": "round_robin", "pooling": {"sst": "mean", "qqp": "max"}},
        {"sampler": "annealed", "B": 64, "combiner": "sum", "pooling": {"sst": "mean"}},
    ],
    ids=[
        "round robin",
        "sum",
        "annealed",
        "accumulation",
        "arrp",
        "poolings",
        "poolings in one row",
    ],  # fmt: skip
)
def test_recorded_epochs_end_with_the_same_bits(
    cache: Path, like_a_gpu: None, changes: dict
) -> None:
    """No step reads anything on the host that its key does not hold."""
    # Small batches in large spans: combinations of sizes come up again.
    graph_cache, changes = GraphCache(fake), {"batch_size": 2, **changes}
    direct, recorded = (a_run(cache, 64, how, **changes) for how in (Direct(fake), graph_cache))
    phases = [*direct.plan(1), *direct.plan(2)]
    assert_same_bits(direct, recorded, [(phase, step) for phase in phases for step in phase.steps])
    assert graph_cache.replayed > 0


def alike(run: Run, phase: Phase) -> tuple[Step, Step]:
    """Two steps whose tensors are of the same sizes although the tasks' shares differ."""
    generator, found = np.random.default_rng(0), {}
    for _ in range(1000):
        step = tuple(Draw(task, generator.choice(32, 4)) for task in ("sst", "sts"))
        inputs = run.stepper.inputs(run.stepper.layout(phase, step), step, torch.Generator())
        sizes = tuple(tensor.shape for tensor in inputs.tensors().values())
        spans, first = found.setdefault(sizes, (inputs.passes[0].packed.spans, step))
        if spans != inputs.passes[0].packed.spans:
            return first, step
    raise AssertionError("no such steps")


def test_steps_of_equal_sizes_are_not_taken_for_each_other(cache: Path, like_a_gpu: None) -> None:
    graph_cache = GraphCache(fake)
    direct, recorded = a_run(cache, 12, Direct(fake)), a_run(cache, 12, graph_cache)
    phase = direct.plan(1)[0]
    first, second = alike(direct, phase)
    steps = [(phase, first), (phase, second), (replace(phase, loss_scale=0.5), first)]
    assert_same_bits(direct, recorded, steps * (WARM_UP_RUNS + 2))
    assert graph_cache.replayed == 2 * len(steps)


def test_a_recording_holds_for_its_frozen_segments_alone(cache: Path) -> None:
    graph_cache = GraphCache(fake)
    run = a_run(cache, 64, graph_cache, sampler="round_robin")
    phase = run.plan(1)[0]
    for graphs, frozen in enumerate(["layers:0", "pooler", "none"], start=1):
        run.freeze(frozen)
        for _ in range(WARM_UP_RUNS + 1):
            run.step(
                phase, phase.steps[0], EpochMetrics(list(run.tasks.values()), run.corpus.sizes())
            )
        assert graph_cache.graphs == graphs


def test_the_dense_attention_of_these_tests_is_the_trainers(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(small_config(cache))
    split = run.corpus.splits["qqp"]["train"]
    packed = split.packed(torch.arange(9).numpy())
    output = run.model.eval()("qqp", packed)
    monkeypatch.setattr(trainer.model.transformer_layer, "attend", dense_attend)
    assert torch.allclose(run.model("qqp", packed), output, atol=1e-6)
