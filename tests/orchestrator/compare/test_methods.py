"""Methods: how trials are grouped, how a configuration is chosen, what does not compare."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from orchestrator.compare.methods import (
    Method,
    find_baseline,
    group,
    union,
    why_apart,
)
from orchestrator.compare.statistics.best_of_k import curve, expected_best, steps
from orchestrator.compare.statistics.cross_fit import REPEATS, cross_fit, half_metrics, halves
from orchestrator.compare.statistics.honest_scores import MOST_READ, contenders
from orchestrator.compare.statistics.pareto_frontier import knee, not_beaten, probabilities
from orchestrator.compare.statistics.speed_up import fair_minutes, why_not_comparable
from orchestrator.errors import UserError
from orchestrator.ledger import Ledger
from tests.support.ledgers import write_trial
from tests.support.simulated import World
from trainer.metrics import CLOCK, FIRST_CLOCK

RNG = np.random.default_rng


def grouped(folder: Path, by: tuple[str, ...] = ()) -> dict[str, Method]:
    return {m.name: m for m in group(Ledger(folder.parent, folder.name).trials(), by)}


def test_a_method_is_sampler_combiner_and_frozen_set(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp", B=320)
    write_trial(tmp_path, [0.5], sampler="arrp", B=640)
    write_trial(tmp_path, [0.5], sampler="arrp", freeze="encoder")
    write_trial(tmp_path, [0.5], sampler="annealed", combiner="sum")
    write_trial(tmp_path, [0.5], sampler="single_task", train_task="sst")
    assert {name: len(m.configurations) for name, m in grouped(tmp_path).items()} == {
        "annealed+sum": 1,
        "arrp+pcgrad": 2,
        "arrp+pcgrad+freeze-encoder": 1,
        "single_task+pcgrad+sst": 1,
    }
    by_b = grouped(tmp_path, ("B", "sampler"))
    assert "B=320 sampler=arrp" in by_b and "B=- sampler=single_task" in by_b
    with pytest.raises(UserError, match=r"--by Q: unknown key; allowed: .*sampler"):
        grouped(tmp_path, ("Q",))


def test_all_frozen_sets_of_arrp_together_are_a_method_too(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp")
    assert union(list(grouped(tmp_path).values()), "arrp+pcgrad") is None
    write_trial(tmp_path, [0.5], sampler="arrp", freeze="encoder")
    joined = union(list(grouped(tmp_path).values()), "arrp+pcgrad")
    assert joined is not None and len(joined.configurations) == 2


def test_methods_of_auto_in_two_precisions_do_not_compare(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp", precision="auto", computed_in="bf16")
    write_trial(tmp_path, [0.5], sampler="annealed", precision="auto", computed_in="fp32")
    write_trial(tmp_path, [0.5], sampler="round_robin", precision="auto", computed_in="bf16")
    write_trial(tmp_path, [0.5], sampler="cycle", precision="fp32", computed_in="fp32")
    arrp, annealed, robin, named = (
        grouped(tmp_path)[f"{name}+pcgrad"] for name in ("arrp", "annealed", "round_robin", "cycle")
    )
    assert why_apart(arrp, annealed) == "different precision (bf16 | fp32)"
    assert why_apart(arrp, robin) == ""
    assert why_apart(arrp, named) == "", "the configuration names it: that is the question's affair"


def test_what_was_pruned_or_failed_is_counted_and_never_a_candidate(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5, 0.5], sampler="arrp", B=1)
    write_trial(tmp_path, [0.9, 0.9], sampler="arrp", B=2, status="pruned")
    write_trial(tmp_path, [0.9, 0.9], sampler="arrp", B=3, status="failed")
    method = grouped(tmp_path)["arrp+pcgrad"]
    assert [each.config.B for each in method.candidates] == [1]
    assert method.counts == {"complete": 1, "pruned": 1, "failed": 1}


def method_with(folder: Path, *seeds: set[int]) -> Method:
    """A method with one configuration for each set of seeds."""
    for number, some in enumerate(seeds, 1):
        for seed in some:
            write_trial(folder, [0.5], sampler="arrp", B=number, seed=seed)
    return grouped(folder)["arrp+pcgrad"]


@pytest.mark.parametrize(
    ("seeds", "common", "competing"),
    [
        ([{1, 2, 3}, {1}], [1, 2, 3], [1]),  # one lucky seed does not beat three
        ([{1, 2, 3}, {1, 2, 3, 4, 5}], [1, 2, 3], [1, 2]),  # two more seeds exclude nobody
        ([{1, 2, 3}, {1, 3}, {1, 2, 3}], [1, 3], [1, 2, 3]),
        ([{1, 2, 3}, {2, 3}, {1, 3}, {1, 2, 3}], [2, 3], [1, 2, 4]),
        ([{1}, {1}, {2}], [1], [1, 2]),
        ([{1, 2}], [1, 2], [1]),
    ],
)
def test_configurations_compete_on_the_seeds_that_all_have(
    tmp_path: Path, seeds: list[set[int]], common: list[int], competing: list[int]
) -> None:
    method = method_with(tmp_path, *seeds)
    assert method.common == common
    assert sorted(each.config.B for each in method.candidates) == competing
    assert method.seeds == sorted(set.union(*(seeds[number - 1] for number in competing)))


def test_a_diverged_seed_is_known(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp", seed=1)
    write_trial(tmp_path, [0.5], sampler="arrp", seed=2, status="failed", reason="diverged")
    write_trial(tmp_path, [0.5], sampler="arrp", seed=3, status="failed", reason="killed")
    write_trial(tmp_path, [], sampler="arrp", B=7, seed=1, status="failed", reason="diverged")
    (each,) = grouped(tmp_path)["arrp+pcgrad"].configurations
    assert each.diverged == {2} and each.seeds == [1]


def test_two_more_seeds_of_the_apparent_winner_change_no_choice() -> None:
    """The seeds that only one configuration has score it, and are not part of the choice."""
    world = World.of(RNG(0))
    ids = [f"{c}-{s}" for c in range(2) for s in range(5)]
    dev = world.dev_set({name: world.predictions(RNG([3, n]), 0.8) for n, name in enumerate(ids)})
    whole = dev.metrics(ids).reshape(2, 5, -1)
    parts = half_metrics(dev, halves(dev.sizes, RNG(2)), ids).reshape(-1, *whole.shape)
    equal = cross_fit(whole[:, :3], parts[:, :, :3], "sst", dev.tasks)
    winner = int(equal.shares.sum(0).argmax())
    whole[1 - winner, 3:] = parts[:, 1 - winner, 3:] = np.nan
    common = np.array([True, True, True, False, False])
    fit = cross_fit(whole, parts, "sst", dev.tasks, common=common)
    assert fit.seeds == [0, 1, 2, 3, 4]
    assert fit.scores[:3] == pytest.approx(equal.scores)
    assert fit.shares[:3].tolist() == equal.shares.tolist()
    assert fit.scores[3:, 0] == pytest.approx(whole[winner, 3:, 0], abs=0.03)
    assert fit.shares[3:, winner].tolist() == [1.0, 1.0]


def test_the_baseline_is_annealed_pcgrad_or_the_one_that_is_named(tmp_path: Path) -> None:
    for sampler in ("arrp", "annealed", "round_robin"):
        write_trial(tmp_path, [0.5], sampler=sampler)
    methods = list(grouped(tmp_path).values())
    assert find_baseline(methods, "").name == "annealed+pcgrad"
    assert find_baseline(methods, "round").name == "round_robin+pcgrad"
    assert find_baseline(methods[1:], "").name == "arrp+pcgrad"
    with pytest.raises(UserError, match="2 methods begin so; allowed: annealed"):
        find_baseline(methods, "a")
    with pytest.raises(UserError, match="no such method"):
        find_baseline(methods, "cycle")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"encoder": "mini"}, "different encoder (mini | tiny); --by encoder separates them"),
        ({"epochs": 3}, "different epochs (2 | 3)"),
        ({"tasks": ["sst", "qqp"]}, "different tasks (sst, qqp | sst, qqp, sts)"),
    ],
)
def test_what_makes_scores_incomparable_is_named(
    tmp_path: Path, change: dict[str, object], reason: str
) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp", **change)
    write_trial(tmp_path, [0.5], sampler="annealed")
    arrp, annealed = (grouped(tmp_path)[f"{name}+pcgrad"] for name in ("arrp", "annealed"))
    assert reason in why_apart(arrp, annealed)
    assert why_apart(annealed, annealed) == ""


def test_encoders_compare_where_they_are_what_is_asked_for(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp", encoder="mini")
    write_trial(tmp_path, [0.5], sampler="arrp")
    assert "encoder" in why_apart(*[grouped(tmp_path)["arrp+pcgrad"]] * 2)
    mini, tiny = grouped(tmp_path, ("encoder",)).values()
    assert why_apart(mini, tiny, ("encoder",)) == ""


def test_minutes_compare_on_one_device_alone(tmp_path: Path) -> None:
    write_trial(tmp_path, [0.5], sampler="arrp")
    write_trial(tmp_path, [0.5], sampler="annealed", contended=True)
    write_trial(tmp_path, [0.5], sampler="cycle", device="cuda: other")
    methods = grouped(tmp_path)
    one, shared, other = (methods[f"{n}+pcgrad"].trials for n in ("arrp", "annealed", "cycle"))
    assert why_not_comparable(one) == ""
    assert "something else was running" in why_not_comparable([*one, *shared])
    assert why_not_comparable([*one, *other]) == "measured on different devices"


def test_minutes_of_two_versions_of_the_clock_are_never_mixed(tmp_path: Path) -> None:
    for sampler, clock in (("arrp", CLOCK), ("annealed", FIRST_CLOCK), ("cycle", FIRST_CLOCK)):
        write_trial(tmp_path, [0.5], sampler=sampler, clock=clock)
    methods = grouped(tmp_path)
    new, old, older = (methods[f"{n}+pcgrad"] for n in ("arrp", "annealed", "cycle"))
    problem = "measured with two versions of the clock"
    assert why_not_comparable([*new.trials, *old.trials]) == problem
    assert why_not_comparable([*old.trials, *older.trials]) == ""
    assert fair_minutes([], [new, old]).problem == problem


def chosen(rng: np.random.Generator, tried: int, count: int, spread: float) -> tuple[float, float]:
    """`tried` equal configurations: the best one's accuracy on the dev set that chose it, and the
    cross-fitted one."""
    world = World.of(rng, sst=150, qqp=4, sts=20)
    ids = [f"{c}-{s}" for c in range(tried) for s in range(count)]
    dev = world.dev_set({name: world.predictions(rng, 0.7 + rng.normal(0, spread)) for name in ids})
    whole = dev.metrics(ids).reshape(tried, count, -1)
    parts = half_metrics(dev, halves(dev.sizes, rng), ids).reshape(-1, *whole.shape)
    fit = cross_fit(whole, parts, "sst", dev.tasks)
    return float(whole[..., 0].mean(1).max()), float(fit.scores[:, 0].mean())


@pytest.mark.parametrize(("count", "spread"), [(1, 0.0), (3, 0.0), (3, 0.05)])
def test_more_tries_do_not_mean_a_better_score(count: int, spread: float) -> None:
    """20 configurations of noise: the naive score says better, the cross-fitted one does not."""
    rng = RNG(count)
    truth = World.of(rng).accuracy(0.7)
    scores = np.array([chosen(rng, 20, count, spread) for _ in range(60)])
    naive, fitted = scores.mean(0) - truth
    error = scores.std(0, ddof=1)[1] / np.sqrt(60)
    assert naive > 0.015
    assert abs(fitted) < 2.5 * error


def test_a_single_configuration_has_its_own_score() -> None:
    world = World.of(RNG(0))
    ids = ["0", "1"]
    dev = world.dev_set({name: world.predictions(RNG(1), 0.8) for name in ids})
    whole = dev.metrics(ids).reshape(1, 2, -1)
    parts = half_metrics(dev, halves(dev.sizes, RNG(2)), ids).reshape(-1, *whole.shape)
    fit = cross_fit(whole, parts, "dev_score", dev.tasks)
    assert fit.scores == pytest.approx(whole[0])
    assert fit.shares.tolist() == [[1.0], [1.0]]


def test_a_configuration_that_is_better_for_sure_is_always_chosen() -> None:
    world = World.of(RNG(0))
    skills = {"a": 0.6, "b": 0.9}
    ids = [f"{name}{seed}" for name in skills for seed in range(2)]
    dev = world.dev_set({i: world.predictions(RNG(1), skills[i[0]]) for i in ids})
    whole = dev.metrics(ids).reshape(2, 2, -1)
    parts = half_metrics(dev, halves(dev.sizes, RNG(2)), ids).reshape(-1, *whole.shape)
    fit = cross_fit(whole, parts, "dev_score", dev.tasks)
    assert fit.shares.tolist() == [[0.0, 1.0]] * 2
    assert fit.scores == pytest.approx(whole[1])


def test_halves_split_every_task_in_two() -> None:
    for part, size in zip(halves([100, 31], RNG(0)), [100, 31], strict=True):
        assert part.shape == (REPEATS, size)
        assert (part.sum(1) == size // 2).all()
        assert len({tuple(row) for row in part}) == REPEATS


def test_the_halves_of_an_accuracy_average_to_the_whole() -> None:
    world = World.of(RNG(0), sst=100)
    dev = world.dev_set({"a": world.predictions(RNG(1), 0.8)})
    on_halves = half_metrics(dev, halves(dev.sizes, RNG(2)), ["a"])
    assert on_halves.shape == (2 * REPEATS, 1, 3)
    both = (on_halves[:REPEATS] + on_halves[REPEATS:]) / 2
    assert both[:, 0, 0] == pytest.approx(np.full(REPEATS, dev.metrics(["a"])[0, 0]))


def test_only_configurations_within_reach_are_read(tmp_path: Path) -> None:
    for number in range(40):
        write_trial(tmp_path, [0.5 + number / 1000], sampler="arrp", B=number + 1)
    method = grouped(tmp_path)["arrp+pcgrad"]
    near = contenders(method, "dev_score", 0.0055, set())
    assert sorted(each.config.B for each in near.configurations) == [35, 36, 37, 38, 39, 40]
    assert near.left_out == 0
    worst = next(each for each in method.candidates if each.config.B == 1)
    capped = contenders(method, "dev_score", 1.0, {worst.config_id})
    assert capped.left_out == 40 - MOST_READ and len(capped.configurations) == MOST_READ + 1
    # Asked for, but not chosen: what is looked at elsewhere is no candidate here.
    assert capped.allowed[capped.configurations.index(worst)].tolist() == [False]
    assert capped.allowed.sum() == MOST_READ


def test_a_seed_does_not_choose_whom_it_scores(tmp_path: Path) -> None:
    for number in range(30):
        for seed in (1, 2):
            lucky = seed == 1 and number == 0
            write_trial(
                tmp_path, [0.9 if lucky else 0.5 + number / 1000], sampler="arrp", B=number + 1,
                seed=seed,
            )  # fmt: skip
    found = contenders(grouped(tmp_path)["arrp+pcgrad"], "dev_score", 1.0, set())
    (luckiest,) = [n for n, c in enumerate(found.configurations) if c.config.B == 1]
    assert found.allowed[luckiest].tolist() == [False, True]  # scored by seed 2 alone


def test_the_expected_best_of_k_is_the_mean_over_all_sets_of_k() -> None:
    scores = np.sort(RNG(0).normal(0.7, 0.02, 7))
    for k in range(1, 8):
        expected = np.mean([max(each) for each in itertools.combinations(scores, k)])
        assert expected_best(scores, k) == pytest.approx(expected)


def test_the_expected_best_of_k_is_without_bias() -> None:
    """The best of 5 normal scores lies 1.163 standard deviations above the mean.

    5 draws with replacement from 6 scores, as they were computed before, reach 0.95 of them.
    """
    rng = RNG(0)
    found = [expected_best(np.sort(rng.standard_normal(6)), 5) for _ in range(4000)]
    assert np.mean(found) == pytest.approx(1.163, abs=0.035)


def test_a_curve_counts_configurations_and_minutes(tmp_path: Path) -> None:
    for number in range(4):
        for seed in (1, 2):
            write_trial(
                tmp_path, [0.1, 0.5 + number / 100], sampler="arrp", B=number + 1, seed=seed,
                minutes=3.0,
            )  # fmt: skip
    points = curve(grouped(tmp_path)["arrp+pcgrad"], "dev_score")
    assert [point.k for point in points] == [1, 2, 3, 4]
    assert [point.minutes for point in points] == [12.0, 24.0, 36.0, 48.0]  # 2 epochs, 2 seeds
    assert [point.value for point in points] == pytest.approx([0.515, 0.5 + 0.07 / 3, 0.5275, 0.53])
    assert list(steps(12)) == [1, 2, 3, 5, 7, 10, 12]
    write_trial(tmp_path, [0.1, 0.5], sampler="arrp", B=1, seed=1, contended=True)
    assert curve(grouped(tmp_path)["arrp+pcgrad"], "dev_score")[0].minutes is None


def test_the_frontier_is_what_no_other_point_beats() -> None:
    scores, minutes = [0.9, 0.8, 0.85, 0.7, 0.9], [5.0, 1.0, 3.0, 2.0, 6.0]
    assert not_beaten(scores, minutes) == [0, 2, 1]
    sure = probabilities(np.array([scores] * 3), np.array([minutes] * 3))
    assert sure.tolist() == [1.0, 1.0, 1.0, 0.0, 0.0]
    shaken = probabilities(np.array([[0.9, 0.8], [0.7, 0.8]]), np.array([[2.0, 1.0]] * 2))
    assert shaken.tolist() == [0.5, 1.0]


def test_the_knee_lies_farthest_above_the_chord() -> None:
    assert knee([0.90, 0.89, 0.80], [10.0, 2.0, 1.0]) == 1
    assert knee([0.90, 0.80], [10.0, 1.0]) is None
    assert knee([0.90, 0.81, 0.80], [10.0, 8.0, 1.0]) is None  # it sags
