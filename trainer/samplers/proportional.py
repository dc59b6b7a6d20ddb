"""Proportional and annealed sampling: task draws in proportion to the data (P0 section 3.2, P3).

p_i is proportional to N_i^alpha, where N_i is the size of task i.  With annealing (Stickland and
Murray 2019, "BERT and PALs") alpha falls over the epochs, so that the last ones see the small tasks
more often.
"""

from __future__ import annotations

import sys

import numpy as np

from trainer.samplers.base import CHOICE, Draw, Epoch, Phase, Step
from trainer.samplers.rows import ShuffledRows


def anneal(number: int, epochs: int, strength: float) -> float:
    """alpha = 1 - s (e - 1) / (E - 1), and 1 if E = 1 (Stickland and Murray 2019: s = 0.8)."""
    return 1.0 if epochs == 1 else 1.0 - strength * (number - 1) / (epochs - 1)


def proportional(epoch: Epoch) -> list[Phase]:
    """P0's V-PCGrad (Algorithm 1), P3: alpha = 1, and B examples per epoch."""
    return _drawn(epoch, 1.0)


def annealed(epoch: Epoch) -> list[Phase]:
    """P0's A-PCGrad, P3: alpha falls from 1 to 1 - `annealing`, which is 0.2 there."""
    return _drawn(epoch, anneal(epoch.number, epoch.epochs, epoch.annealing))


def _drawn(epoch: Epoch, alpha: float) -> list[Phase]:
    """Steps of `draws_per_step` task draws.  The draws of one task in a step form one batch."""
    tasks = list(epoch.sizes)
    weights = np.array([epoch.sizes[task] for task in tasks], dtype=np.float64) ** alpha
    probabilities = weights / weights.sum()  # (tasks,)
    choice = epoch.generator(CHOICE, epoch.number)
    rows = {task: ShuffledRows(epoch, task) for task in tasks}
    draws = epoch.draws_per_step or len(tasks)
    steps: list[Step] = []
    left = sys.maxsize if epoch.steps_per_epoch else single_number(epoch.B)
    while left > 0 and len(steps) < (epoch.steps_per_epoch or sys.maxsize):
        examples = dict.fromkeys(tasks, 0)
        for number in choice.choice(len(tasks), size=draws, p=probabilities):
            count = min(left, epoch.batch_sizes[tasks[number]])
            examples[tasks[number]] += count
            left -= count
        steps.append(tuple(Draw(t, rows[t].take(n)) for t, n in examples.items() if n))
    return [Phase("main", steps, epoch.frozen)]


def single_number(B: int | dict[str, int]) -> int:
    """B, for samplers whose B is no mapping: the config's check refuses one."""
    assert isinstance(B, int)
    return B
