"""The optimism of the best epoch: against the truth in simulated trials, and its exact cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.small import small_config
from trainer.config import TrainConfig
from trainer.loop.optimism import TaskScores, optimism, optimism_of_trial
from trainer.storage.trial_directory import TrialDirectory
from trainer.train import train

TASKS = {task.name: task for task in TrainConfig().task_list}
#: The truth of each epoch: the probability of being right, and the correlation with the label.
WORLDS = {
    "epochs do not differ": np.full(6, 0.55),
    "epochs differ a little": np.array([0.52, 0.54, 0.55, 0.55, 0.54, 0.53]),
    "one epoch is far ahead": np.array([0.40, 0.45, 0.62, 0.50, 0.45, 0.40]),
    "scores rise to the end": np.linspace(0.40, 0.60, 6),
}
SIZES = {"sst": 150, "qqp": 200, "sts": 100}


def drawn(truth: np.ndarray, rng: np.random.Generator, together: float = 0.7) -> list[TaskScores]:
    """Dev examples and every epoch's outcomes; epochs agree on the share `together` of examples."""
    scores = []
    for name, size in SIZES.items():
        shape = len(truth), size
        kept = rng.random(shape) < together
        if name == "sts":
            labels = rng.standard_normal(size)
            noise = np.where(kept, rng.standard_normal(size), rng.standard_normal(shape))
            predictions = truth[:, None] * labels + np.sqrt(1 - truth[:, None] ** 2) * noise
            outcomes = predictions - predictions.mean(1, keepdims=True)
        else:
            labels = np.zeros(size)
            luck = np.where(kept, rng.random(size), rng.random(shape))
            outcomes = luck < truth[:, None]
        scores.append(TaskScores(TASKS[name], labels, outcomes))
    return scores


def dev_scores(scores: list[TaskScores]) -> np.ndarray:
    """(epochs,), computed with numpy alone."""
    metrics = []
    for each in scores:
        if each.task.name == "sts":
            r = [np.corrcoef(outcome, each.labels)[0, 1] for outcome in each.outcomes]
            metrics.append((np.array(r) + 1) / 2)
        else:
            metrics.append(each.outcomes.mean(1))
    return np.mean(metrics, axis=0)


@pytest.mark.parametrize("world", WORLDS)
def test_the_best_score_minus_its_optimism_is_nearly_unbiased(world: str) -> None:
    """The truth of an epoch is known here, so is how much too high the best score is."""
    rng, truth = np.random.default_rng(1), WORLDS[world]
    true_scores = (2 * truth + (truth + 1) / 2) / 3
    naive, left = [], []
    for _ in range(400):
        scores = drawn(truth, rng)
        measured = dev_scores(scores)
        best = int(measured.argmax())
        naive.append(measured[best] - true_scores[best])
        found = optimism(scores, draws=100, seed=int(rng.integers(2**31)))
        left.append(naive[-1] - found["dev_score"])
    error = np.std(left) / 20
    assert abs(np.mean(left)) < max(0.2 * np.mean(naive), 0.0) + 2.5 * error
    if world == "epochs do not differ":
        assert np.mean(naive) > 8 * error  # the best score itself is far too high


def test_without_a_choice_there_is_no_optimism() -> None:
    one = drawn(np.array([0.5]), np.random.default_rng(0))
    expected = {"dev_score": 0.0, "dev_mean": 0.0, "tasks": dict.fromkeys(TASKS, 0.0)}
    assert optimism(one) == expected
    same = [TaskScores(s.task, s.labels, np.repeat(s.outcomes, 3, axis=0)) for s in one]
    assert optimism(same)["dev_score"] == pytest.approx(0, abs=1e-9)


def test_the_overall_scores_are_means_of_the_tasks() -> None:
    """Pearson's r enters dev_score as (r + 1) / 2, so its optimism counts half."""
    found = optimism(drawn(np.full(4, 0.5), np.random.default_rng(2)))
    sst, qqp, sts = (found["tasks"][name] for name in ("sst", "qqp", "sts"))
    assert found["dev_score"] == pytest.approx((sst + qqp + sts / 2) / 3)
    assert found["dev_mean"] == pytest.approx((sst + qqp + sts) / 3)


def test_two_epochs_that_differ_in_one_example() -> None:
    """Two draws of two examples, so every draw can be written down."""
    outcomes = np.array([[True, False], [False, True]])
    scores = [TaskScores(TASKS["sst"], np.zeros(2), outcomes)]
    # One draw: half of the time the same example twice, which makes an epoch right in both and the
    # other in none: 1 - 1/2 for the better one, 0 for the mean of both.  So o_1 = 1/4; draws of a
    # draw change nothing once one example is left, so o_2 = 1/8 and o_3 = 1/16.
    expected = 3 / 4 - 3 / 8 + 1 / 16
    assert optimism(scores, draws=40_000)["dev_score"] == pytest.approx(expected, abs=0.01)
    assert optimism(scores)["tasks"]["sst"] == optimism(scores)["dev_score"]


def test_a_trial_records_it_from_its_predictions(cache: Path, tmp_path: Path) -> None:
    config = small_config(cache, epochs=3)
    list(train(config, str(tmp_path)))
    store = TrialDirectory(tmp_path)
    recorded = (store.end() or {})["summary"]["optimism"]
    assert recorded == optimism_of_trial(store, store.records(), config.task_list)
    assert set(recorded) == {"dev_score", "dev_mean", "tasks"}
    assert set(recorded["tasks"]) == {"sst", "qqp", "sts"}
    store.folder.delete("predictions/002.parquet")
    assert optimism_of_trial(store, store.records(), config.task_list) == {}
