"""Samplers: what an epoch promises to draw (docs/reference/methods.md)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from trainer.config.tasks import TASKS
from trainer.loop.epoch_metrics import EpochMetrics
from trainer.samplers import Epoch, Phase, SamplerError, registry, split_steps
from trainer.samplers.proportional import anneal

SAMPLERS = {name: registry.load(name) for name in registry.SAMPLERS}

SIZES = {"sst": 85, "qqp": 2830, "sts": 60}


def an_epoch(number: int = 1, **changes: object) -> Epoch:
    epoch = Epoch(
        sizes=SIZES,
        batch_sizes=dict.fromkeys(SIZES, 8),
        number=number,
        epochs=4,
        seed=5,
        B=400,
        loss_penalty=0.3,
        frozen="encoder",
    )
    return dataclasses.replace(epoch, **changes)  # type: ignore[arg-type]


def rows_of(phases: list[Phase], task: str) -> np.ndarray:
    drawn = [d.rows for phase in phases for step in phase.steps for d in step if d.task == task]
    return np.concatenate(drawn) if drawn else np.empty(0, dtype=np.int64)


def as_lists(phases: list[Phase]) -> list[object]:
    return [[(d.task, d.rows.tolist()) for step in p.steps for d in step] for p in phases]


#: Sampler -> what it is asked -> examples that it promises of each task (None: only their sum).
PROMISES: dict[str, tuple[dict[str, object], dict[str, int] | int]] = {
    "proportional": ({}, 400),
    "annealed": ({}, 400),
    "round_robin": ({}, {"sst": 60, "qqp": 60, "sts": 60}),
    "arrp": ({}, {"sst": 60, "qqp": 460, "sts": 60}),
    "arrp, several large tasks": (
        {"B": {"qqp": 300, "sst": 20}, "loss_penalty": {"qqp": 0.1, "sst": 0.9}},
        {"sst": 80, "qqp": 360, "sts": 60},
    ),
    "cycle": ({}, {"sst": 354 * 8, "qqp": 2830, "sts": 354 * 8}),
    "sequential": ({"task_order": ("qqp", "sst", "sts")}, SIZES),
    "interleaved": ({}, SIZES),
    "single_task": ({"train_task": "sst"}, {"sst": 85}),
    "rr_pretrain": ({"pretrain_epochs": 3}, {"sst": 60, "qqp": 2890, "sts": 60}),
    "untrained": ({}, {}),
}


def planned(name: str, number: int = 1, **changes: object) -> list[Phase]:
    settings = PROMISES[name][0]
    return SAMPLERS[name.split(",")[0]](an_epoch(number, **{**settings, **changes}))


def test_every_sampler_stands_under_the_contract() -> None:
    assert {name.split(",")[0] for name in PROMISES} == set(SAMPLERS)


@pytest.mark.parametrize("name", PROMISES)
def test_draws_exactly_what_it_promises(name: str) -> None:
    promise = PROMISES[name][1]
    for number in (1, 2, 3):
        phases = planned(name, number)
        counts = {task: len(rows_of(phases, task)) for task in SIZES}
        if isinstance(promise, int):
            assert sum(counts.values()) == promise
        else:
            assert {task: n for task, n in counts.items() if n} == dict(promise)
        assert sum(counts.values()) == sum(phase.examples for phase in phases)


@pytest.mark.parametrize("name", PROMISES)
def test_visits_every_task_it_promises(name: str) -> None:
    promise = PROMISES[name][1]
    enough = {"B": 20_000} if isinstance(promise, int) else {}  # they draw tasks at random
    phases = planned(name, **enough)
    visited = {d.task for phase in phases for step in phase.steps for d in step}
    assert visited == (set(SIZES) if isinstance(promise, int) else set(promise))


@pytest.mark.parametrize("name", PROMISES)
def test_a_plan_is_a_function_of_seed_and_epoch(name: str) -> None:
    """So a trial can be resumed at any step: what follows does not depend on having been there."""
    first = as_lists(planned(name, 2))
    assert first == as_lists(planned(name, 2))
    if not first:
        return  # `untrained` draws nothing
    assert first != as_lists(planned(name, 3))
    assert first != as_lists(planned(name, 2, seed=6))


@pytest.mark.parametrize("name", PROMISES)
def test_rows_lie_within_their_task_and_a_step_draws_a_task_once(name: str) -> None:
    for phase in planned(name):
        for step in phase.steps:
            assert len({draw.task for draw in step}) == len(step) > 0
            for draw in step:
                assert len(draw.rows) > 0
                assert draw.rows.min() >= 0 and draw.rows.max() < SIZES[draw.task]


@pytest.mark.parametrize("name", PROMISES)
def test_the_utilisation_reported_is_the_one_counted(name: str) -> None:
    tally = EpochMetrics([TASKS[task] for task in SIZES], SIZES)
    phases = planned(name)
    for phase in phases:
        for step in phase.steps:
            for draw in step:
                n = len(draw.rows)
                output = torch.zeros(n, 5) if draw.task == "sst" else torch.zeros(n)
                tally.add(draw, torch.tensor(1.0), output, torch.zeros(n))
    for task, reported in tally.tasks().items():
        rows = rows_of(phases, task).tolist()
        assert reported["examples"] == len(rows)
        assert reported["utilisation"] == len(set(rows)) / SIZES[task]


@pytest.mark.parametrize("name", PROMISES)
def test_splitting_steps_keeps_every_draw(name: str) -> None:
    for phase in planned(name):
        split = split_steps(phase)
        assert all(len(step) == 1 for step in split.steps)
        draws = [d for step in phase.steps for d in step]
        assert [(s[0].task, s[0].rows.tolist()) for s in split.steps] == [
            (d.task, d.rows.tolist()) for d in draws
        ]


@pytest.mark.parametrize("name", ["proportional", "annealed"])
@pytest.mark.parametrize("B", [1, 7, 8, 24, 399, 400])
def test_drawn_samplers_give_exactly_B_examples(name: str, B: int) -> None:
    phases = SAMPLERS[name](an_epoch(B=B))
    assert sum(phase.examples for phase in phases) == B
    assert phases[0].frozen == "encoder" and phases[0].loss_scale == 1.0


def test_draws_of_one_task_form_one_batch() -> None:
    (phase,) = SAMPLERS["proportional"](an_epoch(draws_per_step=5))
    full = phase.steps[0]
    assert sum(len(draw.rows) for draw in full) == 40
    assert all(len(draw.rows) % 8 == 0 for draw in full)


@pytest.mark.parametrize(
    ("name", "number", "alpha"),
    [("proportional", 4, 1.0), ("annealed", 1, 1.0), ("annealed", 4, 0.2)],
)
def test_tasks_are_drawn_in_proportion_to_their_annealed_size(
    name: str, number: int, alpha: float
) -> None:
    phases = SAMPLERS[name](an_epoch(number, B=60_000))
    weights = np.array([SIZES[task] ** alpha for task in SIZES])
    shares = np.array([len(rows_of(phases, task)) for task in SIZES]) / 60_000
    assert shares == pytest.approx(weights / weights.sum(), abs=0.02)


def test_alpha_falls_from_one_by_the_strength() -> None:
    for strength, last in ((0.8, 0.2), (0.3, 0.7), (1.0, 0.0), (0.0, 1.0)):  # P0: 0.8
        alphas = [anneal(1, 10, strength), anneal(10, 10, strength), anneal(1, 1, strength)]
        assert alphas == pytest.approx([1.0, last, 1.0])
    assert anneal(5, 9, 0.8) == pytest.approx(0.6)


@pytest.mark.parametrize(("annealing", "alpha"), [(0.0, 1.0), (0.4, 0.6), (1.0, 0.0)])
def test_the_strength_of_annealing_acts(annealing: float, alpha: float) -> None:
    rows = SAMPLERS["annealed"](an_epoch(4, B=60_000, annealing=annealing))
    weights = np.array([SIZES[task] ** alpha for task in SIZES])
    shares = np.array([len(rows_of(rows, task)) for task in SIZES]) / 60_000
    assert shares == pytest.approx(weights / weights.sum(), abs=0.02)


def test_an_exhausted_task_starts_over_reshuffled() -> None:
    phases = SAMPLERS["annealed"](an_epoch(4, B=6000))
    rows = rows_of(phases, "sts")
    assert len(rows) > 120
    assert sorted(rows[:60]) == sorted(rows[60:120]) == list(range(60))
    assert rows[:60].tolist() != rows[60:120].tolist()


def test_round_robin_visits_every_task_until_the_smallest_is_done() -> None:
    (phase,) = SAMPLERS["round_robin"](an_epoch())
    assert all({draw.task for draw in step} == set(SIZES) for step in phase.steps)
    assert sorted(rows_of([phase], "sts")) == list(range(60))
    for task in SIZES:
        rows = rows_of([phase], task)
        assert len(rows) == len(set(rows)) == 60


def test_round_robin_at_the_papers_sizes() -> None:
    sizes = {"sst": 8544, "qqp": 283_010, "sts": 6040}
    epoch = an_epoch(sizes=sizes)
    (phase,) = SAMPLERS["round_robin"](epoch)
    assert len(phase.steps) == 755  # P3
    seen = {task: len(set(rows_of([phase], task))) / size for task, size in sizes.items()}
    assert seen == pytest.approx({"sts": 1.0, "sst": 0.707, "qqp": 0.021}, abs=5e-4)  # P0 Table 1


def test_round_robin_epochs_cover_a_large_task_before_any_row_comes_again() -> None:
    counts = np.zeros(SIZES["sst"], dtype=int)
    for number in range(1, 18):  # 17 epochs x 60 rows = 12 x 85
        rows = rows_of(SAMPLERS["round_robin"](an_epoch(number)), "sst")
        assert len(set(rows)) == 60
        np.add.at(counts, rows, 1)
        assert counts.max() - counts.min() <= 1
    assert set(counts) == {12}


def test_per_task_batch_sizes_act() -> None:
    (phase,) = SAMPLERS["round_robin"](an_epoch(batch_sizes={"sst": 2, "qqp": 24, "sts": 4}))
    assert [len(d.rows) for d in phase.steps[0]] == [2, 24, 4]
    assert all(len(rows_of([phase], task)) == 60 for task in SIZES)


def test_arrp_alternates_round_robin_with_unused_rows_of_the_largest_task() -> None:
    first, second = SAMPLERS["arrp"](an_epoch(2))
    (round_robin,) = SAMPLERS["round_robin"](an_epoch(2))
    assert as_lists([first]) == as_lists([round_robin])
    assert (first.frozen, first.loss_scale) == ("none", 1.0)
    assert (second.frozen, second.loss_scale) == ("encoder", 0.3)
    assert {draw.task for step in second.steps for draw in step} == {"qqp"}
    drawn = rows_of([second], "qqp")
    assert len(drawn) == len(set(drawn)) == 400
    assert not set(drawn) & set(rows_of([first], "qqp"))


def test_arrp_takes_all_that_is_left_when_B_is_larger() -> None:
    phases = SAMPLERS["arrp"](an_epoch(B=10**6))
    assert sorted(rows_of(phases, "qqp")) == list(range(SIZES["qqp"]))


def test_arrp_visits_every_large_task_with_its_own_budget_and_penalty() -> None:
    phases = planned("arrp, several large tasks")
    assert [(p.name, p.loss_scale, p.frozen) for p in phases] == [
        ("round_robin", 1.0, "none"),
        ("alternating.sst", 0.9, "encoder"),
        ("alternating.qqp", 0.1, "encoder"),
    ]
    used, extra = set(rows_of(phases[:1], "sst")), set(rows_of(phases[1:2], "sst"))
    assert len(extra) == 20 and not used & extra


def test_arrp_says_when_its_second_phase_has_nothing_left() -> None:
    with pytest.raises(SamplerError, match="round robin uses all 60 examples of sts"):
        planned("arrp", B={"sts": 5})


@pytest.mark.parametrize("name", ["proportional", "annealed"])
def test_steps_an_epoch_can_be_given_instead_of_B(name: str) -> None:
    (phase,) = planned(name, steps_per_epoch=17, draws_per_step=2, B=1)
    assert len(phase.steps) == 17 and phase.examples == 17 * 16


def test_cycle_sees_the_largest_task_once_and_reshuffles_the_others() -> None:
    (phase,) = planned("cycle")
    assert all({d.task for d in step} == set(SIZES) for step in phase.steps)
    assert sorted(rows_of([phase], "qqp")) == list(range(SIZES["qqp"]))
    rows = rows_of([phase], "sts")
    assert sorted(rows[:60]) == sorted(rows[60:120]) == list(range(60))
    assert rows[:60].tolist() != rows[60:120].tolist()


def test_cycle_ends_with_the_task_of_most_batches_not_of_most_data() -> None:
    (phase,) = planned("cycle", batch_sizes={"sst": 1, "qqp": 100, "sts": 8})
    assert len(phase.steps) == 85
    assert sorted(rows_of([phase], "sst")) == list(range(85))
    assert len(rows_of([phase], "qqp")) == 8500


@pytest.mark.parametrize(("apart", "names"), [(False, {"main"}), (True, set(SIZES))])
def test_sequential_takes_task_after_task(apart: bool, names: set[str]) -> None:
    phases = planned("sequential", optimizer_per_task=apart)
    assert [phase.name for phase in phases] == ["qqp", "sst", "sts"]
    assert {phase.optimizer for phase in phases} == names
    for phase in phases:
        assert sorted(rows_of([phase], phase.name)) == list(range(SIZES[phase.name]))


def test_interleaved_tasks_finish_together() -> None:
    (phase,) = planned("interleaved")
    assert len(phase.steps) == 8  # 60 / 8, rounded up
    for task, size in SIZES.items():
        assert sorted(rows_of([phase], task)) == list(range(size))
        batches = [len(d.rows) for step in phase.steps for d in step if d.task == task]
        assert len(batches) == 8 and max(batches) - min(batches) <= 1


def test_rr_pretrain_opens_its_first_epochs_only() -> None:
    assert [p.name for p in planned("rr_pretrain", 3)] == ["pretrain", "round_robin"]
    assert [p.name for p in planned("rr_pretrain", 4)] == ["round_robin"]
    opening = planned("rr_pretrain", 1)[0]
    assert sorted(rows_of([opening], "qqp")) == list(range(SIZES["qqp"]))
    other = planned("rr_pretrain", 1, train_task="sst")[0]
    assert len(rows_of([other], "sst")) == 85
