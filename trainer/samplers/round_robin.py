"""Round robin: each step has one batch of every task (P0's RR-PCGrad, P3's triple-batch)."""

from __future__ import annotations

import numpy as np

from trainer.samplers.base import COVER, Draw, Epoch, Phase, Step


def round_robin(epoch: Epoch) -> list[Phase]:
    """P0's RR-PCGrad, P3's truncated triple-batch: one batch of every task each step.

    The epoch ends when the smallest task has been seen once; every task gives that many examples.
    """
    return [Phase("round_robin", round_robin_steps(epoch), epoch.frozen)]


def round_robin_steps(epoch: Epoch) -> list[Step]:
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
    """`seen` distinct rows of a task for this epoch, chosen so that epochs together cover it.

    Epochs walk along an endless chain of shuffles.  Where one epoch spans two of them, rows that
    it took from the first are moved to the end of the second: no row comes twice in an epoch, and
    every row comes once before any row comes again.
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
