"""Task metrics and their weighted forms against scikit-learn, scipy and simulation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from sklearn import metrics as sklearn_metrics

from trainer.config import ConfigError, TrainConfig
from trainer.config.task_choices import METRICS
from trainer.config.tasks import TASKS, Task
from trainer.loop.task_metrics import metric_of

RNG = np.random.default_rng

SST, QQP, STS = TASKS["sst"], TASKS["qqp"], TASKS["sts"]


def of_class_one(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(sklearn_metrics.f1_score(labels, predictions, zero_division=0))


def macro(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(
        sklearn_metrics.f1_score(labels, predictions, average="macro", zero_division=0)
    )  # fmt: skip


def rounded(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(sklearn_metrics.accuracy_score(labels.round(), predictions.round()))


def pearson(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(scipy.stats.pearsonr(predictions, labels).statistic)


def spearman(predictions: np.ndarray, labels: np.ndarray) -> float:
    return float(scipy.stats.spearmanr(predictions, labels).statistic)


#: Tasks with each metric, and somebody else's function for the same.
CASES: dict[str, tuple[Task, Callable[[np.ndarray, np.ndarray], float]]] = {
    "accuracy of classes": (SST, lambda p, y: float(sklearn_metrics.accuracy_score(y, p))),
    "accuracy of real values": (replace(STS, metric="accuracy"), rounded),
    "f1 of two classes": (replace(QQP, metric="f1"), of_class_one),
    "f1 of five classes": (replace(SST, metric="f1"), macro),
    "pearson": (STS, pearson),
    "spearman": (replace(STS, metric="spearman"), spearman),
    "spearman of classes": (replace(SST, metric="spearman"), spearman),
}
NAMES = pytest.mark.parametrize("name", CASES)


def drawn(task: Task, size: int, rng: np.random.Generator, noise: float = 0.7) -> np.ndarray:
    """Predictions and labels (2, size) that agree in part, with many ties."""
    low, high = task.label_bounds
    labels = (low + (high - low) * rng.beta(0.8, 1.4, size)).round(0 if task.integer_labels else 1)
    predictions = labels + noise * (high - low) / 2 * rng.standard_normal(size)
    predictions = np.clip(predictions.round(0 if task.integer_labels else 2), low, high)
    return np.stack([predictions, labels])


def test_every_metric_has_a_case() -> None:
    assert {task.metric for task, _ in CASES.values()} == set(METRICS)


@NAMES
def test_the_value_is_somebody_elses(name: str) -> None:
    task, expected = CASES[name]
    for seed in range(5):
        predictions, labels = drawn(task, 211, RNG(seed))
        assert metric_of(task).value(predictions, labels) == pytest.approx(
            expected(predictions, labels), abs=1e-12
        )


@NAMES
def test_a_weighted_value_is_that_of_the_repeated_examples(name: str) -> None:
    """Each draw of counts, for several trials at once, as if the examples stood there so often.

    So few that some draws have no example of a class.
    """
    task, expected = CASES[name]
    metric, rng = metric_of(task), RNG(1)
    labels = drawn(task, 15, rng)[1]
    trials = [drawn(task, 15, rng, noise)[0] for noise in (0.2, 0.7, 3.0)]
    counts = rng.multinomial(15, np.full(15, 1 / 15), 20)
    outcomes = np.stack([metric.outcomes(predictions, labels) for predictions in trials])
    found = metric.weighted(counts.astype(metric.weight_type), outcomes, labels)
    assert found.shape == (20, 3)
    for draw, count in enumerate(counts):
        for trial, predictions in enumerate(trials):
            repeated = np.repeat(predictions, count), np.repeat(labels, count)
            assert found[draw, trial] == pytest.approx(expected(*repeated), abs=1e-6)


@NAMES
def test_a_constant_prediction_is_no_error(name: str) -> None:
    task, _ = CASES[name]
    labels = drawn(task, 50, RNG(2))[1]
    constant = np.full(50, labels[0])
    outcomes = metric_of(task).outcomes(constant, labels)[None]
    weights = RNG(3).multinomial(50, np.full(50, 0.02), 4).astype(metric_of(task).weight_type)
    found = metric_of(task).weighted(weights, outcomes, labels)
    if METRICS[task.metric].signed:
        assert metric_of(task).value(constant, labels) == 0.0
        assert found.tolist() == [[0.0]] * 4
    assert np.isfinite(found).all()


def test_f1_without_class_one_is_zero() -> None:
    never = np.zeros(9)
    assert metric_of(replace(QQP, metric="f1")).value(never, never) == 0.0
    assert metric_of(replace(QQP, metric="f1")).guess(never) == 0.0


@NAMES
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_the_variance_is_that_of_samples(name: str, noise: float) -> None:
    """2,000 samples of 500 examples.  The formulas assume a shape of errors, so only the size."""
    task, _ = CASES[name]
    metric, rng = metric_of(task), RNG(4)
    predictions, labels = drawn(task, 20_000, rng, noise)
    values = [
        metric.value(predictions[chosen], labels[chosen])
        for chosen in rng.integers(0, 20_000, (2000, 500))
    ]
    expected = metric.asymptotic_variance(float(np.mean(values)), labels) / 500
    assert np.std(values) == pytest.approx(np.sqrt(expected), rel=0.3)


def balanced(shares: np.ndarray, right: float, size: int, rng: np.random.Generator) -> np.ndarray:
    """Labels of these shares and predictions that are right or, otherwise, drawn alike."""
    labels, guesses = rng.choice(len(shares), (2, size), p=shares)
    return np.stack([np.where(rng.random(size) < right, labels, guesses), labels])


@pytest.mark.parametrize("shares", [[0.63, 0.37], [0.95, 0.05], [0.13, 0.26, 0.19, 0.27, 0.15]])
@pytest.mark.parametrize("right", [0.0, 0.6])
def test_the_variance_of_f1_is_exact_where_its_assumption_holds(
    shares: list[float], right: float
) -> None:
    task = replace(SST, metric="f1", classes=len(shares))
    metric, rng = metric_of(task), RNG(5)
    values = [
        metric.value(*balanced(np.array(shares), right, 2000, rng)) for _ in range(3000)
    ]  # fmt: skip
    labels = rng.choice(len(shares), 200_000, p=shares)
    expected = metric.asymptotic_variance(float(np.mean(values)), labels) / 2000
    assert np.std(values) == pytest.approx(np.sqrt(expected), rel=0.05)


def test_no_constant_or_random_answer_beats_the_guess() -> None:
    rng = RNG(6)
    for name in ("accuracy of classes", "f1 of two classes", "f1 of five classes"):
        task, _ = CASES[name]
        labels = drawn(task, 4000, rng)[1]
        guess = metric_of(task).guess(labels)
        classes = range(task.label_classes)
        answers = [np.full(4000, each) for each in classes]
        answers += [rng.choice(task.label_classes, 4000, p=rng.dirichlet(np.ones(len(classes))))
                    for _ in range(40)]  # fmt: skip
        answers.append(rng.permutation(labels))
        best = max(metric_of(task).value(answer, labels) for answer in answers)
        assert guess - 0.02 < best < guess + 0.02


def test_f1_of_real_labels_is_refused() -> None:
    with pytest.raises(ConfigError, match="sts.metric: f1 needs classes.*accuracy, pearson, spea"):
        TrainConfig.from_dict({"task_declarations": {"sts": {"metric": "f1"}}})
