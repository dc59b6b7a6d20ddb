"""What a step minimises for one task: its loss, and its pair loss.

Shapes: n examples of a draw, C classes.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from trainer.config import TrainConfig
from trainer.config.task_choices import CLASS_WEIGHTS, PAIR_LOSSES
from trainer.config.tasks import Task
from trainer.model.heads import TaskOutput
from trainer.model.losses import loss_of


class Objective:
    """The training loss of a task.

    Args:
        labels: (n,), those of the training set, which balance its classes.
    """

    def __init__(self, config: TrainConfig, task: Task, labels: np.ndarray, device: torch.device):
        self._loss = loss_of(task)
        weights = CLASS_WEIGHTS[config.class_weights_of(task)].load()(labels, task.label_classes)
        self._class_weights = None if weights is None else weights.to(device)  # (C,)
        self._pair_loss = PAIR_LOSSES[config.pair_loss_of(task)].load()
        self._pair_loss_weight = config.pair_loss_weight
        self._middle = sum(task.label_bounds) / 2
        #: The factor on everything that the task adds to the joint loss.
        self.weight = float(config.for_task("task_weights", task.name))

    def __call__(self, made: TaskOutput, labels: Tensor) -> Tensor:
        """The loss () of a draw without the task's weight; `labels` float (n,)."""
        loss = self._loss.value(made.output, labels, self._class_weights)
        pair_loss = self._pair_loss(made.vectors, labels > self._middle)
        return loss if pair_loss is None else loss + self._pair_loss_weight * pair_loss
