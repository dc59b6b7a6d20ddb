"""Dev metrics of one task: the value, and the value under the weights of a bootstrap.

Accuracy stands here, the others in `correlations` and `f1`.

Shapes: n examples, t trials on the same examples, w draws of weights.
"""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np

from trainer.config.task_choices import METRICS
from trainer.config.tasks import Task


class TaskMetric(Protocol):
    """What trainer and comparison need of a metric, which is made of its task.

    Higher is better.
    """

    #: The type of weights.  Single precision is exact for counts, but not for moments.
    weight_type: type[np.floating]

    def value(self, predictions: np.ndarray, labels: np.ndarray) -> float:
        """The metric of predictions (n,) against labels (n,)."""

    def outcomes(self, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """What the weighted value needs of the predictions, (n,)."""

    def weighted(self, weights: np.ndarray, outcomes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The metric (w, t) of outcomes (t, n) under each draw of weights (w, n)."""

    def asymptotic_variance(self, value: float, labels: np.ndarray) -> float:
        """The metric's variance between large samples times their size, if its mean is `value`.

        Labels (n,) give the distribution of the labels; their number does not matter.
        """

    def guess(self, labels: np.ndarray) -> float:
        """The metric of a model that knows only the distribution of the labels (n,)."""


class Metric:
    """A metric of one task."""

    def __init__(self, task: Task):
        self.task = task


class Accuracy(Metric):
    """Share of examples whose prediction equals their label.

    Real predictions and labels are rounded to whole numbers first.  A half goes to the even one.
    """

    weight_type = np.float32

    def value(self, predictions: np.ndarray, labels: np.ndarray) -> float:
        return float(np.mean(self.outcomes(predictions, labels)))

    def outcomes(self, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Right or wrong."""
        right: np.ndarray = np.rint(predictions) == np.rint(labels)
        return right

    def weighted(self, weights: np.ndarray, outcomes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        total = weights.sum(1, keepdims=True)  # (w, 1)
        right: np.ndarray = (weights @ outcomes.T.astype(weights.dtype)) / total
        return right

    def asymptotic_variance(self, value: float, labels: np.ndarray) -> float:
        return value * (1 - value)

    def guess(self, labels: np.ndarray) -> float:
        """The share of the most frequent class."""
        return float(np.unique(np.rint(labels), return_counts=True)[1].max() / len(labels))


@functools.cache
def metric_of(task: Task) -> TaskMetric:
    """The metric that a task declares."""
    metric: TaskMetric = METRICS[task.metric].load()(task)
    return metric
