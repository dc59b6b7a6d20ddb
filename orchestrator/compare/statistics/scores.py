"""The overall scores: averages over the metrics of tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.config.task_choices import METRICS
from trainer.config.tasks import Task

OVERALL = ("dev_score", "dev_mean")


def combine(metric: str, tasks: Sequence[Task], values: np.ndarray) -> np.ndarray:
    """One score (...,) from the metrics of all tasks (..., tasks).

    `metric` is a task's name, or `dev_score` or `dev_mean`, which average the scored tasks as
    `trainer.loop.evaluation.overall` does.
    """
    names = [task.name for task in tasks]
    if metric not in OVERALL:
        return values[..., names.index(metric)]
    scored = [number for number, task in enumerate(tasks) if task.scored]
    halved = [metric == "dev_score" and METRICS[tasks[number].metric].signed for number in scored]
    part = values[..., scored]
    score: np.ndarray = np.where(halved, (part + 1) / 2, part).mean(-1)
    return score


def weights(metric: str, tasks: Sequence[Task]) -> np.ndarray:
    """How much each task's metric counts in the score, (tasks,)."""
    count = len(tasks)
    return combine(metric, tasks, np.eye(count)) - combine(metric, tasks, np.zeros((1, count)))


def limits(metric: str, tasks: Sequence[Task]) -> tuple[float, float]:
    """The lowest and the highest possible value of the score."""
    lowest = np.array([-1.0 if METRICS[task.metric].signed else 0.0 for task in tasks])
    ends = combine(metric, tasks, np.stack([lowest, np.ones(len(tasks))]))
    return float(ends[0]), float(ends[1])
