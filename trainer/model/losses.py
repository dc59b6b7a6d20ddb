"""Losses of one task: each has a value, predictions and a divergence.

Class weights scale the losses of single examples and leave the mean as it is: n examples still
count n.  (torch divides by the weights' sum, so a batch of one class would have no weights at all.)

Shapes: n examples, C classes.  An `output` is (n, C) if there is an output for each class, else
(n,).
"""

from __future__ import annotations

import functools
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.config.task_choices import LOSSES
from trainer.config.tasks import Task

#: A product of two variances below this counts as this, so that constant predictions have a finite
#: gradient.
_LEAST = 1e-8


class Loss(Protocol):
    """What the trainer needs of a loss."""

    def value(self, output: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
        """Mean loss () of a batch.

        Args:
            labels: float (n,).
            class_weights: (C,), if the labels are classes.
        """

    def predict(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions (classes or real values) and their scores, both float (n,)."""

    def probabilities(self, output: Tensor) -> Tensor:
        """Probabilities of all classes (n, C), or real values (n,)."""

    def divergence(self, output: Tensor, other: Tensor) -> Tensor:
        """SMART's symmetric l_s () of two outputs (Jiang et al. 2020, equation 3)."""

    def confidence(self, scores: np.ndarray) -> np.ndarray:
        """How confident the model was, (n,), from its scores (n,).  Only the order matters."""


class CrossEntropy:
    """Softmax over one output per class.  A score is the predicted class's probability."""

    def value(self, output: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
        total = F.cross_entropy(output, labels.long(), weight=class_weights, reduction="sum")
        return total / len(labels)

    def predict(self, output: Tensor) -> tuple[Tensor, Tensor]:
        score, prediction = torch.softmax(output, dim=-1).max(dim=-1)  # (n,), (n,)
        return prediction.float(), score

    def probabilities(self, output: Tensor) -> Tensor:
        return torch.softmax(output, dim=-1)

    def divergence(self, output: Tensor, other: Tensor) -> Tensor:
        """Symmetric KL divergence, KL(p, q) + KL(q, p)."""
        log_p, log_q = F.log_softmax(output, dim=-1), F.log_softmax(other, dim=-1)  # (n, C)
        return ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(-1).mean()

    def confidence(self, scores: np.ndarray) -> np.ndarray:
        return scores


class BinaryCrossEntropy:
    """One logit.  A score is the probability of class 1."""

    def value(self, output: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
        weights = None if class_weights is None else class_weights[labels.long()]  # (n,)
        return F.binary_cross_entropy_with_logits(output, labels, weight=weights)

    def predict(self, output: Tensor) -> tuple[Tensor, Tensor]:
        score = torch.sigmoid(output)
        return (score > 0.5).float(), score

    def probabilities(self, output: Tensor) -> Tensor:
        score = torch.sigmoid(output)
        return torch.stack([1 - score, score], dim=-1)

    def divergence(self, output: Tensor, other: Tensor) -> Tensor:
        """Symmetric KL divergence of two classes: logit x is the pair (-x / 2, x / 2)."""
        both = (torch.stack([-x / 2, x / 2], dim=-1) for x in (output, other))  # (n, 2)
        return CrossEntropy().divergence(*both)

    def confidence(self, scores: np.ndarray) -> np.ndarray:
        distance: np.ndarray = np.abs(scores - 0.5)
        return distance


class SquaredError:
    """One real output, which is both prediction and score."""

    def value(self, output: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
        return F.mse_loss(output, labels)

    def predict(self, output: Tensor) -> tuple[Tensor, Tensor]:
        return output, output

    def probabilities(self, output: Tensor) -> Tensor:
        return output

    def divergence(self, output: Tensor, other: Tensor) -> Tensor:
        """Squared difference."""
        return F.mse_loss(output, other)

    def confidence(self, scores: np.ndarray) -> np.ndarray:
        return scores


class PearsonDistance(SquaredError):
    """1 - Pearson's r of the batch (P2).  A batch of one example, or of equal ones, has r = 0."""

    def value(self, output: Tensor, labels: Tensor, class_weights: Tensor | None = None) -> Tensor:
        x, y = output - output.mean(), labels - labels.mean()  # (n,), (n,)
        variances = x.square().mean() * y.square().mean()
        return 1 - (x * y).mean() / variances.clamp(min=_LEAST).sqrt()


def loss_of(task: Task) -> Loss:
    """The loss that a task declares."""
    return _loss(task.loss)


@functools.cache
def _loss(name: str) -> Loss:
    loss: Loss = LOSSES[name].load()()
    return loss


def task_loss(task: Task, output: Tensor, labels: Tensor) -> Tensor:
    """Mean loss () of a batch of a task; `labels` float (n,)."""
    return loss_of(task).value(output, labels)
