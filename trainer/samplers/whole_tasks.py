"""Samplers that see whole training sets: the papers' other baselines (P0, P1, P2, P4)."""

from __future__ import annotations

import numpy as np

from trainer.samplers.base import Draw, Epoch, Phase
from trainer.samplers.round_robin import round_robin_steps
from trainer.samplers.rows import ShuffledRows, whole_task


def cycle(epoch: Epoch) -> list[Phase]:
    """P1's finetune-mix (max_size_cycle): one batch of every task in each step.

    The epoch ends when the task with the most batches is exhausted.  The others start again in a
    new order.
    """
    counts = {task: -(-size // epoch.batch_sizes[task]) for task, size in epoch.sizes.items()}
    longest = max(counts.values())
    rows = {task: ShuffledRows(epoch, task) for task in epoch.sizes}
    steps = []
    for index in range(longest):
        draws = []
        for task, size in epoch.sizes.items():
            batch = epoch.batch_sizes[task]
            # Only the task that ends the epoch has a shorter last batch: it is seen exactly once.
            left = size - index * batch if counts[task] == longest else batch
            draws.append(Draw(task, rows[task].take(min(batch, left))))
        steps.append(tuple(draws))
    return [Phase("cycle", steps, epoch.frozen)]


def sequential(epoch: Epoch) -> list[Phase]:
    """P1's finetune-seq: one task after the other, each whole (in P1: qqp, sst, sts)."""
    return [
        Phase(
            task,
            whole_task(epoch, task),
            epoch.frozen,
            optimizer=task if epoch.optimizer_per_task else "main",
        )
        for task in epoch.task_order or epoch.sizes
    ]


def interleaved(epoch: Epoch) -> list[Phase]:
    """P4's rrobin-full: one batch of every task in each step, and all tasks finish together.

    The smallest task keeps its batch size.  Those of the others grow in proportion to their data.
    """
    smallest = min(epoch.sizes, key=lambda name: epoch.sizes[name])
    count = -(-epoch.sizes[smallest] // epoch.batch_sizes[smallest])
    parts = {
        task: np.array_split(ShuffledRows(epoch, task).take(size), count)
        for task, size in epoch.sizes.items()
    }
    steps = [tuple(Draw(task, parts[task][i]) for task in epoch.sizes) for i in range(count)]
    return [Phase("interleaved", steps, epoch.frozen)]


def single_task(epoch: Epoch) -> list[Phase]:
    """One task alone, each example once (baselines of P0, P2 and P4)."""
    task = epoch.train_task or epoch.largest
    return [Phase(task, whole_task(epoch, task), epoch.frozen)]


def rr_pretrain(epoch: Epoch) -> list[Phase]:
    """P4's rrobin-pre: the task with the most data whole, then round robin.

    Only the first `pretrain_epochs` epochs begin with that phase.
    """
    rich = epoch.train_task or epoch.largest
    opening = [Phase("pretrain", whole_task(epoch, rich), epoch.frozen)]
    phase = Phase("round_robin", round_robin_steps(epoch), epoch.frozen)
    return [*(opening if epoch.number <= epoch.pretrain_epochs else []), phase]
