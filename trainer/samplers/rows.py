"""Rows of a task in random order, and batches of them."""

from __future__ import annotations

import numpy as np

from trainer.samplers.base import SHUFFLE, Draw, Epoch, Step


class ShuffledRows:
    """Rows of one task in random order.  An exhausted task starts again in a new order."""

    def __init__(self, epoch: Epoch, task: str):
        self.generator = epoch.generator(SHUFFLE, epoch.number, epoch.task_number(task))
        self.size = epoch.sizes[task]
        self.order = self.generator.permutation(self.size)

    def take(self, count: int) -> np.ndarray:
        """The next rows, int64 (count,)."""
        while len(self.order) < count:
            self.order = np.concatenate([self.order, self.generator.permutation(self.size)])
        rows, self.order = self.order[:count], self.order[count:]
        return rows


def task_batches(epoch: Epoch, task: str, rows: np.ndarray) -> list[Step]:
    """Steps with one batch of one task each."""
    size = epoch.batch_sizes[task]
    return [(Draw(task, rows[start : start + size]),) for start in range(0, len(rows), size)]


def whole_task(epoch: Epoch, task: str) -> list[Step]:
    """Steps that see every example of a task once, in random order."""
    return task_batches(epoch, task, ShuffledRows(epoch, task).take(epoch.sizes[task]))
