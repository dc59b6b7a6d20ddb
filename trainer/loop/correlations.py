"""Correlations of predictions and labels: Pearson's r, and Spearman's rho of their ranks.

Both are 0 where they are undefined, because predictions or labels are constant.

Shapes: n examples, t trials on the same examples, w draws of weights, c different values.
"""

from __future__ import annotations

import numpy as np

from trainer.loop.task_metrics import Metric


class PearsonCorrelation(Metric):
    """Pearson's r."""

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

    def asymptotic_variance(self, value: float, labels: np.ndarray) -> float:
        return (1 - value**2) ** 2

    def guess(self, labels: np.ndarray) -> float:
        """No correlation."""
        return 0.0


class SpearmanCorrelation(Metric):
    """Spearman's rho: Pearson's r of the ranks.  Equal values share their mean rank."""

    weight_type = np.float64

    def value(self, predictions: np.ndarray, labels: np.ndarray) -> float:
        once = np.ones((1, len(labels)))
        return float(self.weighted(once, self.outcomes(predictions, labels)[None], labels)[0, 0])

    def outcomes(self, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Each prediction's place among the different predictions, from 0."""
        return _places(predictions)

    def weighted(self, weights: np.ndarray, outcomes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """An example of weight k counts as k equal ones, so ranks are those of the resample."""
        truth = _weighted_ranks(weights, _places(labels))  # (w, n)
        truth_norm = _inner(weights, truth, truth)  # (w,)
        rho = np.zeros((len(weights), len(outcomes)))
        for trial, places in enumerate(outcomes):
            ranks = _weighted_ranks(weights, places)  # (w, n)
            norm = np.sqrt(_inner(weights, ranks, ranks) * truth_norm)  # (w,)
            np.divide(_inner(weights, ranks, truth), norm, out=rho[:, trial], where=norm > 0)
        return rho

    def asymptotic_variance(self, value: float, labels: np.ndarray) -> float:
        """Bonett and Wright 2000: Fisher's z of rho has the variance (1 + rho^2 / 2) / (n - 3)."""
        return (1 - value**2) ** 2 * (1 + value**2 / 2)

    def guess(self, labels: np.ndarray) -> float:
        """No correlation."""
        return 0.0


def _places(values: np.ndarray) -> np.ndarray:
    """The place of each value among the c different ones, (n,), from 0."""
    places: np.ndarray = np.unique(values, return_inverse=True)[1]
    return places


def _weighted_ranks(weights: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Ranks (w, n) minus their weighted mean, under each draw of weights (w, n).

    The rank of a value is the weight below it plus half of its own.  The weighted mean of that is
    half of all weight, exactly.
    """
    order = np.argsort(places, kind="stable")
    starts = np.flatnonzero(np.diff(places[order], prepend=-1))  # (c,)
    own = np.add.reduceat(weights[:, order], starts, axis=1)  # (w, c)
    up_to = own.cumsum(1)  # (w, c)
    ranks: np.ndarray = (up_to - own / 2 - up_to[:, -1:] / 2)[:, places]
    return ranks


def _inner(weights: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The weighted inner product of each draw, (w, n) and (w, n) -> (w,)."""
    product: np.ndarray = np.einsum("wn,wn,wn->w", weights, one, other)
    return product
