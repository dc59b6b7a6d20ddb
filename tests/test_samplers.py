"""Samplers: what an epoch promises to draw (docs/methods.md)."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from trainer.samplers import SAMPLERS, Epoch, Phase, anneal

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


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_plan_is_a_function_of_seed_and_epoch(name: str) -> None:
    first = as_lists(SAMPLERS[name](an_epoch(2)))
    assert first == as_lists(SAMPLERS[name](an_epoch(2)))
    assert first != as_lists(SAMPLERS[name](an_epoch(3)))
    assert first != as_lists(SAMPLERS[name](an_epoch(2, seed=6)))


@pytest.mark.parametrize("name", SAMPLERS)
def test_rows_lie_within_their_task_and_a_step_draws_a_task_once(name: str) -> None:
    for phase in SAMPLERS[name](an_epoch()):
        for step in phase.steps:
            assert len({draw.task for draw in step}) == len(step) > 0
            for draw in step:
                assert len(draw.rows) > 0
                assert draw.rows.min() >= 0 and draw.rows.max() < SIZES[draw.task]


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


def test_alpha_falls_from_one_to_a_fifth() -> None:
    assert [anneal(1, 10), anneal(10, 10), anneal(1, 1)] == pytest.approx([1.0, 0.2, 1.0])
    assert anneal(5, 9) == pytest.approx(0.6)


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
