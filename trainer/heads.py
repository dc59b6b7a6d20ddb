"""From pooled sentence vectors to task outputs, losses and predictions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.dropout import Dropout
from trainer.encoder import Encoder, Packed
from trainer.tasks import Task


class MultitaskModel(nn.Module):
    """One encoder, one linear head a task on the dropped-out pooled [CLS] (P1, pair mode cross)."""

    def __init__(self, encoder: Encoder, tasks: Sequence[Task], dropout: float):
        super().__init__()
        self.encoder = encoder
        self.dropout = Dropout(dropout)
        self.heads = nn.ModuleDict(
            {task.name: nn.Linear(encoder.shape.hidden, task.outputs) for task in tasks}
        )

    def forward(self, task: str, packed: Packed) -> Tensor:
        """Outputs (n, classes) for cross-entropy, (n,) for one logit or one real value; fp32."""
        _, pooled = self.encoder(packed)
        return self.heads[task](self.dropout(pooled)).float().squeeze(-1)


def task_loss(task: Task, output: Tensor, labels: Tensor) -> Tensor:
    """Mean loss of a batch (docs/methods.md); `labels` float (n,)."""
    if task.loss == "cross_entropy":
        return F.cross_entropy(output, labels.long())
    if task.loss == "bce":
        return F.binary_cross_entropy_with_logits(output, labels)
    return F.mse_loss(output, labels)


def predict(task: Task, output: Tensor) -> tuple[Tensor, Tensor]:
    """Prediction (a class or a real value) and score, both (n,).

    The score is the probability of the predicted class (cross-entropy), of class 1 (one logit),
    or the raw value (regression).
    """
    if task.loss == "cross_entropy":
        score, prediction = torch.softmax(output, dim=-1).max(dim=-1)
        return prediction.float(), score
    if task.loss == "bce":
        score = torch.sigmoid(output)
        return (score > 0.5).float(), score
    return output, output
