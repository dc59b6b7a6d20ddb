"""The F1 score of a classification.

Shapes: n examples, t trials on the same examples, w draws of weights, C classes.
"""

from __future__ import annotations

import numpy as np

from trainer.config.tasks import Task
from trainer.loop.task_metrics import Metric


class F1(Metric):
    """Harmonic mean of precision and recall: of class 1 if there are two classes.

    Of more classes it is the mean over those that occur among labels or predictions (scikit-learn's
    `macro`).  It is 0 if class 1 does not occur.
    """

    weight_type = np.float32

    def __init__(self, task: Task):
        super().__init__(task)
        count = task.label_classes
        #: The classes whose F1 counts.
        self.counted = [1] if count == 2 else list(range(count))

    def value(self, predictions: np.ndarray, labels: np.ndarray) -> float:
        once = np.ones((1, len(labels)))
        return float(self.weighted(once, predictions[None], labels)[0, 0])

    def outcomes(self, predictions: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """The predicted classes."""
        return predictions

    def weighted(self, weights: np.ndarray, outcomes: np.ndarray, labels: np.ndarray) -> np.ndarray:
        total, occurring = np.zeros((2, len(weights), len(outcomes)))  # (w, t) each
        for number in self.counted:
            predicted, true = outcomes == number, labels == number  # (t, n), (n,)
            both = _count(weights, predicted & true)  # (w, t)
            either = _count(weights, predicted) + _count(weights, true[None])  # (w, t)
            total += np.divide(2 * both, either, out=np.zeros_like(either), where=either > 0)
            occurring += either > 0
        return total / np.maximum(occurring, 1)

    def asymptotic_variance(self, value: float, labels: np.ndarray) -> float:
        """By the delta method, for a model that predicts each class as often as it occurs.

        The model is right with one probability, and guesses by the classes' frequencies otherwise.
        F1 is a function of the confusion matrix, whose cells are multinomial.
        """
        classes, counts = np.unique(labels, return_counts=True)
        shares = counts / len(labels)  # (C,), of the classes that occur
        used = np.isin(classes, self.counted)
        chance = shares[used].mean() if used.any() else 0.0
        right = np.clip((value - chance) / (1 - chance), 0, 1) if chance < 1 else 1.0
        confusion = right * np.diag(shares) + (1 - right) * np.outer(shares, shares)  # (C, C)
        f1 = right + (1 - right) * shares  # (C,)
        # dF_c / dK_ab = [a = b = c] / s_c - F_c ([a = c] + [b = c]) / (2 s_c)
        slope = np.where(used, 1 / shares, 0) / max(1, used.sum())  # (C,)
        marginal = slope * f1 / 2  # (C,)
        gradient = np.diag(slope) - marginal[:, None] - marginal  # (C, C)
        mean = float((confusion * gradient).sum())
        return float((confusion * gradient**2).sum()) - mean**2

    def guess(self, labels: np.ndarray) -> float:
        """Class 1 for every example of a binary task.  Otherwise each class as often as it occurs.

        No other guess has a higher expected score.
        """
        if self.counted == [1]:
            share = float(np.mean(labels == 1))
            return 2 * share / (1 + share)
        return 1 / len(np.unique(labels))


def _count(weights: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """The weight of the chosen examples (t, n) under each draw of weights (w, n), (w, t)."""
    count: np.ndarray = (weights @ chosen.T.astype(weights.dtype)).astype(np.float64)
    return count
