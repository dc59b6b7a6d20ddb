"""Round robin: one batch of every task in each step (P0's RR-PCGrad, P3's triple-batch)."""

from __future__ import annotations

import numpy as np

from trainer.samplers.base import COVER, Draw, Epoch, Phase, Step


def round_robin(epoch: Epoch) -> list[Phase]:
    """P0's RR-PCGrad, P3's truncated triple-batch.

    The epoch ends when the smallest task was seen once.  Every task gives as many examples.
    """
    return [Phase("round_robin", round_robin_steps(epoch), epoch.frozen)]


def round_robin_steps(epoch: Epoch) -> list[Step]:
    """The steps of an epoch of round robin, for samplers that add other phases."""
    seen = min(epoch.sizes.values())
    rows = {task: covering_rows(epoch, task, seen) for task in epoch.sizes}
    count = max(-(-seen // epoch.batch_sizes[task]) for task in epoch.sizes)
    steps = []
    for index in range(count):
        draws = []
        for task, order in rows.items():
            size = epoch.batch_sizes[task]
            if index * size < seen:
                draws.append(Draw(task, order[index * size : (index + 1) * size]))
        steps.append(tuple(draws))
    return steps


def covering_rows(epoch: Epoch, task: str, seen: int) -> np.ndarray:
    """`seen` distinct rows of a task, int64 (seen,), so that the epochs together cover the task.

    Epochs take rows from an endless chain of permutations.  If an epoch takes rows from two of
    them, those that it took from the first move to the end of the second.  So no row comes twice in
    an epoch, and every row comes once before any row comes again.
    """
    size = epoch.sizes[task]
    number = epoch.task_number(task)
    tail = np.empty(0, dtype=np.int64)
    cycle = 0
    for _ in range(epoch.number):
        head = tail[:seen]
        tail = tail[seen:]
        if len(head) < seen:
            shuffled = epoch.generator(COVER, cycle, number).permutation(size)
            cycle += 1
            repeated = np.isin(shuffled, head)
            order = np.concatenate([shuffled[~repeated], shuffled[repeated]])
            needed = seen - len(head)
            head, tail = np.concatenate([head, order[:needed]]), order[needed:]
    return head
