"""Dev metrics of one task: the value, and the value under the weights of a bootstrap.

Shapes: n examples, t trials on the same examples, w draws of weights.
"""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np

from trainer.config.choices import METRICS
from trainer.config.tasks import Task


class TaskMetric(Protocol):
    """What trainer and comparison need of a metric.  Higher is better."""

    #: The type of weights.  Single precision is exact for counts, but not for moments.
    weight_type: type[np.floating]

    def value(self, predictions: np.ndarray, labels: np.ndarray) -> float:
        """The metric of predictions (n,) against labels (n,)."""

    def outcomes(self, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """What the weighted value needs of the predictions, (n,)."""

    def weighted(self, weights: np.ndarray, outcomes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The metric (w, t) of outcomes (t, n) under each draw of weights (w, n)."""

    def sampling_variance(self, value: float, size: int) -> float:
        """The metric's variance between samples of `size` examples, if its mean is `value`."""

    def guess(self, labels: np.ndarray) -> float:
        """The metric of a model that knows only the distribution of the labels (n,)."""


class Accuracy:
    """Share of examples whose prediction equals their label."""

    weight_type = np.float32

    def value(self, predictions: np.ndarray, labels: np.ndarray) -> float:
        return float(np.mean(predictions == labels))

    def outcomes(self, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Right or wrong."""
        right: np.ndarray = predictions == labels
        return right

    def weighted(self, weights: np.ndarray, outcomes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        total = weights.sum(1, keepdims=True)  # (w, 1)
        right: np.ndarray = (weights @ outcomes.T.astype(weights.dtype)) / total
        return right

    def sampling_variance(self, value: float, size: int) -> float:
        return value * (1 - value) / size

    def guess(self, labels: np.ndarray) -> float:
        """The share of the most frequent class."""
        return float(np.unique(labels, return_counts=True)[1].max() / len(labels))


class PearsonCorrelation:
    """Pearson's r, and 0 if it is undefined because predictions or labels are constant."""

    weight_type = np.float64

    def value(self, predictions: np.ndarray, labels: np.ndarray) -> float:
        centred = predictions - predictions.mean(), labels - labels.mean()
        norm = float(np.linalg.norm(centred[0]) * np.linalg.norm(centred[1]))
        return float(centred[0] @ centred[1]) / norm if norm > 0 else 0.0

    def outcomes(self, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The centred predictions."""
        centred: np.ndarray = predictions - predictions.mean()
        return centred

    def weighted(self, weights: np.ndarray, outcomes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        total = weights.sum(1, keepdims=True)  # (w, 1)
        truth = labels - labels.mean()
        mean = weights @ outcomes.T / total  # (w, t)
        truth_mean = (weights @ truth)[:, None] / total  # (w, 1)
        variance = weights @ np.square(outcomes).T / total - mean**2  # (w, t)
        truth_variance = (weights @ np.square(truth))[:, None] / total - truth_mean**2  # (w, 1)
        covariance = weights @ (outcomes * truth).T / total - mean * truth_mean  # (w, t)
        # Rounding gives a constant a small variance, which does not count.
        floor = 1e-12 * np.square(outcomes).mean(1), 1e-12 * np.square(truth).mean()
        defined = (variance > floor[0]) & (truth_variance > floor[1])
        product = np.where(defined, variance * truth_variance, 1.0)
        return np.where(defined, covariance / np.sqrt(product), 0.0)

    def sampling_variance(self, value: float, size: int) -> float:
        return (1 - value**2) ** 2 / size

    def guess(self, labels: np.ndarray) -> float:
        """No correlation."""
        return 0.0


def metric_of(task: Task) -> TaskMetric:
    """The metric that a task declares."""
    return _metric(task.metric)


@functools.cache
def _metric(name: str) -> TaskMetric:
    metric: TaskMetric = METRICS[name].load()()
    return metric
