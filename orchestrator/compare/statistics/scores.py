"""Scores from outcomes: a task's metric under weights, and the overall scores over tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.config.tasks import Task

OVERALL = ("dev_score", "dev_mean")


def combine(metric: str, tasks: Sequence[Task], values: np.ndarray) -> np.ndarray:
    """One score (...,) from the metrics of all tasks (..., tasks).

    A task's name gives its metric; `dev_score` and `dev_mean` average the scored tasks as
    `trainer.loop.evaluation.overall` does.
    """
    names = [task.name for task in tasks]
    if metric not in OVERALL:
        return values[..., names.index(metric)]
    scored = [number for number, task in enumerate(tasks) if task.scored]
    halved = [metric == "dev_score" and tasks[number].metric == "pearson" for number in scored]
    part = values[..., scored]
    found: np.ndarray = np.where(halved, (part + 1) / 2, part).mean(-1)
    return found


def outcomes(task: Task, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """What a weighted metric needs of predictions (n,): right or wrong, or the centred value."""
    if task.metric == "accuracy":
        return predictions == labels
    return predictions - predictions.mean()


def weighted_metric(
    task: Task, weights: np.ndarray, made: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """The metric (w, t) of outcomes (t, n) under each row of weights (w, n).

    Pearson's r is 0 where one side is constant, as `trainer.loop.evaluation.metric` has it.
    """
    total = weights.sum(1, keepdims=True)
    if task.metric == "accuracy":
        right: np.ndarray = (weights @ made.T.astype(weights.dtype)) / total
        return right
    truth = labels - labels.mean()
    mean = weights @ made.T / total
    truth_mean = (weights @ truth)[:, None] / total
    spread = weights @ np.square(made).T / total - mean**2
    truth_spread = (weights @ np.square(truth))[:, None] / total - truth_mean**2
    both = weights @ (made * truth).T / total - mean * truth_mean
    # What is left of a constant by rounding is no variance.
    floor = 1e-12 * np.square(made).mean(1), 1e-12 * np.square(truth).mean()
    defined = (spread > floor[0]) & (truth_spread > floor[1])
    product = np.where(defined, spread * truth_spread, 1.0)
    return np.where(defined, both / np.sqrt(product), 0.0)
