"""The bootstrap and the tests on it, against scipy, closed forms and simulated truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from orchestrator.compare.statistics.bootstrap import (
    Seeds,
    multinomial,
    resampled_metrics,
    unseen_variance,
)
from orchestrator.compare.statistics.hypothesis_tests import p_different, p_equivalent
from orchestrator.compare.statistics.scores import combine
from tests.support.simulated import World, experiment
from trainer.config.tasks import TASKS
from trainer.loop.evaluation import metric, overall
from trainer.loop.task_metrics import metric_of

RNG = np.random.default_rng


def test_metrics_under_equal_weights_are_the_trainers() -> None:
    world = World.of(RNG(0))
    made = world.predictions(RNG(1), 0.8)
    found = world.dev_set({"a": made}).metrics(["a"])[0]
    expected = {name: metric(TASKS[name], made[name], world.labels[name]) for name in made}
    assert found == pytest.approx(list(expected.values()))
    tasks = [TASKS[name] for name in made]
    for name, value in overall(expected, tasks).items():
        assert combine(name, tasks, found) == pytest.approx(value)
    assert combine("sts", tasks, found) == pytest.approx(expected["sts"])


def test_pearson_of_a_constant_is_zero_as_in_the_trainer() -> None:
    labels = RNG(0).uniform(0, 5, 50)
    made = metric_of(TASKS["sts"]).outcomes(np.full(50, 2.1), labels)[None]
    weights = multinomial(3, 50, RNG(1)).astype(float)
    assert metric_of(TASKS["sts"]).weighted(weights, made, labels).tolist() == [[0.0]] * 3


def test_weights_are_draws_with_replacement() -> None:
    weights = multinomial(4000, 20, RNG(0))
    assert (weights.sum(1) == 20).all()
    assert weights.mean() == 1
    assert weights.var() == pytest.approx(19 / 20, rel=0.02)


@pytest.mark.parametrize("method", ["percentile", "BCa"])
def test_the_interval_over_examples_is_scipys(method: str) -> None:
    world = World.of(RNG(2), sst=400, sts=300)
    a, b = (world.predictions(RNG(3 + n), skill) for n, skill in enumerate((0.75, 0.8)))
    drawn = resampled_metrics(world.dev_set({"a": a, "b": b}), ["a", "b"], 9999, RNG(5))
    right = [made["sst"] == world.labels["sst"] for made in (a, b)]
    scipys = stats.bootstrap(
        right, lambda x, y, axis: x.mean(axis) - y.mean(axis), paired=True, method=method,
        rng=RNG(6),
    ).confidence_interval  # fmt: skip
    ours = np.quantile(drawn[:, 0, 0] - drawn[:, 1, 0], [0.025, 0.975])
    assert ours == pytest.approx(scipys, abs=0.004)
    correlation = stats.bootstrap(
        (a["sts"], world.labels["sts"]), lambda x, y, axis: stats.pearsonr(x, y, axis=axis)[0],
        paired=True, n_resamples=4000, method=method, rng=RNG(7),
    ).confidence_interval  # fmt: skip
    assert np.quantile(drawn[:, 0, 2], [0.025, 0.975]) == pytest.approx(correlation, abs=0.006)


def test_the_variance_of_a_paired_accuracy_difference_is_mcnemars() -> None:
    world = World.of(RNG(2), sst=500)
    a, b = (world.predictions(RNG(3 + n), 0.8)["sst"] == world.labels["sst"] for n in range(2))
    only_a, only_b, n = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    expected = (only_a + only_b - (only_a - only_b) ** 2 / n) / n**2
    made = np.stack([a, b])
    weights = multinomial(20_000, n, RNG(5)).astype(float)
    drawn = metric_of(TASKS["sst"]).weighted(weights, made, world.labels["sst"])
    assert (drawn[:, 0] - drawn[:, 1]).var() == pytest.approx(expected, rel=0.04)


@pytest.mark.parametrize("count", [2, 3, 5])
def test_the_interval_over_seeds_is_students(count: int) -> None:
    values = RNG(count).normal(0.01, 0.02, count)
    seeds = Seeds(range(count), 20_000, RNG(1))
    drawn = seeds.draws(range(count), values, np.tile(values, (20_000, 1)))
    expected = stats.ttest_1samp(values, 0).confidence_interval()
    width = expected.high - expected.low
    assert drawn.interval(0.95) == pytest.approx(tuple(expected), abs=0.04 * width)


def test_what_has_the_same_seeds_has_the_same_draws() -> None:
    seeds = Seeds([1, 2, 3], 500, RNG(0))
    values = np.array([0.1, 0.5, 0.2])
    still = np.tile(values, (500, 1))
    one = seeds.draws([1, 2, 3], values, still).values
    assert seeds.draws([1, 2, 3], 2 * values, 2 * still).values == pytest.approx(2 * one)
    assert seeds.draws([3, 1, 2], values[[2, 0, 1]], still[:, [2, 0, 1]]).values == pytest.approx(
        one
    )


def test_seeds_that_agree_by_luck_are_not_certain() -> None:
    """Two seeds with equal scores, whose examples alone make them differ by 0.02."""
    resampled = 0.5 + RNG(0).normal(0, 0.02, (2000, 2))
    draws = Seeds([1, 2], 2000, RNG(1)).draws([1, 2], np.array([0.5, 0.5]), resampled)
    low, high = draws.interval(0.95)
    assert high - low > 0.01


REPEATED = pytest.mark.slow(reason="the simulation again, of other experiments")


@pytest.mark.parametrize(
    ("count", "spread", "taste"),
    [
        pytest.param(3, 0.0, 0.0, marks=REPEATED),
        (3, 0.03, 0.4),
        pytest.param(5, 0.01, 0.4, marks=REPEATED),
        pytest.param(5, 0.06, 0.0, marks=REPEATED),
    ],
)
def test_intervals_cover_the_truth(count: int, spread: float, taste: float) -> None:
    rng, covered, errors = RNG(10 * count), 0, 0
    # Over all examples, taste is noise; what a spread of skills does to the mean is little.
    all_models = World.of(rng, noise=np.hypot(0.3, taste))
    truth = all_models.accuracy(0.70) - all_models.accuracy(0.76)
    for _ in range(300):
        low, high = experiment(rng, (0.70, 0.76), count, spread, taste).interval(0.95)
        covered += low <= truth <= high
        errors += p_different(experiment(rng, (0.7, 0.7), count, spread, taste).distribution) < 0.05
    assert 0.92 <= covered / 300 <= 0.985
    assert errors / 300 <= 0.075


def test_a_bootstrap_of_seeds_with_replacement_would_not_cover() -> None:
    """Why seeds are not resampled: the mean of 3 is drawn from 3 values, 10 sets in all."""
    rng, covered = RNG(0), 0
    for _ in range(400):
        values = rng.normal(0, 1, 3)
        means = rng.choice(values, (500, 3)).mean(1)
        low, high = np.quantile(means, [0.025, 0.975])
        covered += low <= 0 <= high
    assert covered / 400 < 0.85


def test_the_equivalence_test_errs_at_its_level() -> None:
    """A true difference of exactly the margin is called comparable in 5 % of the cases."""
    rng, errors, margin = RNG(3), 0, 0.02
    for _ in range(600):
        values = rng.normal(margin, 0.02, 5)
        drawn = Seeds(range(5), 500, rng).draws(range(5), values, np.tile(values, (500, 1)))
        errors += p_equivalent(drawn.distribution, margin) < 0.05
    assert 0.02 <= errors / 600 <= 0.07


def test_draws_and_their_formula_are_one_distribution() -> None:
    values = np.array([0.70, 0.74, 0.71])
    shared = RNG(0).normal(0, 0.01, (20_000, 1))
    draws = Seeds(range(3), 20_000, RNG(1)).draws(range(3), values, values + shared)
    assert draws.shared == pytest.approx(1e-4, rel=0.05)
    for confidence in (0.5, 0.8, 0.95):
        low, high = np.quantile(draws.values, [(1 - confidence) / 2, (1 + confidence) / 2])
        assert draws.interval(confidence) == pytest.approx((low, high), abs=0.02 * (high - low))


def test_outcomes_without_variance_have_the_width_of_the_rule_of_three() -> None:
    """300 examples, all right with both seeds: up to 3.7 in 300 could be wrong elsewhere."""
    resampled = np.ones((500, 2, 1))
    least = unseen_variance(resampled, [TASKS["sst"]], [300])
    draws = Seeds([1, 2], 500, RNG(0)).draws(
        [1, 2], np.ones(2), resampled[:, :, 0], float(least[0])
    )
    low, _ = draws.interval(0.95)
    assert low == pytest.approx(0.025 ** (1 / 300), abs=2e-4)  # the exact bound: 0.9878
    one = Seeds([1], 500, RNG(0)).draws([1], np.ones(1), resampled[:, :1, 0], float(least[0]))
    assert one.interval(0.95)[0] == pytest.approx(low, abs=1e-6)


def test_outcomes_that_vary_show_their_own_variance() -> None:
    right = RNG(0).random(300) < 0.9
    weights = multinomial(2000, 300, RNG(1))
    resampled = (weights @ right / 300)[:, None, None]
    assert unseen_variance(resampled, [TASKS["sst"]], [300]).tolist() == [0.0]


def test_only_a_correlation_without_any_variance_is_raised() -> None:
    little = 0.8 + RNG(0).normal(0, 1e-4, (500, 1, 1))
    assert unseen_variance(little, [TASKS["sts"]], [300]).tolist() == [0.0]
    none = np.full((500, 1, 1), 0.8)
    assert unseen_variance(none, [TASKS["sts"]], [300])[0] == pytest.approx(3.54 / 300**2, rel=0.01)
