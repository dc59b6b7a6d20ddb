"""What each optimisation step sees: an epoch is phases, a phase steps, a step draws.

Samplers are pure and seeded: the plan of an epoch is a function of (sizes, config, seed, epoch), so
that a resumed trial sees exactly what an undisturbed one would have.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Draw:
    """Examples of one task in one step: `rows` are int64 row numbers of its training set."""

    task: str
    rows: np.ndarray


Step = tuple[Draw, ...]


@dataclass(frozen=True)
class Phase:
    """Steps under one frozen set; `loss_scale` multiplies every loss (ARRP's lambda)."""

    name: str
    steps: Sequence[Step]
    frozen: str = "none"
    loss_scale: float = 1.0

    @property
    def examples(self) -> int:
        return sum(len(draw.rows) for step in self.steps for draw in step)


@dataclass(frozen=True)
class Epoch:
    """Everything a sampler may look at; `number` counts 1..`epochs`."""

    sizes: dict[str, int]
    batch_sizes: dict[str, int]
    number: int
    epochs: int
    seed: int
    B: int = 0
    draws_per_step: int = 0
    loss_penalty: float = 1.0
    frozen: str = "none"

    def generator(self, *purpose: int) -> np.random.Generator:
        """A stream of its own for every (seed, purpose)."""
        return np.random.default_rng(np.random.SeedSequence([self.seed, *purpose]))

    def task_number(self, task: str) -> int:
        return list(self.sizes).index(task)


# Purposes of the random streams: fixed numbers, because a changed one changes every trial.
_SHUFFLE, _CHOICE, _EXTRA, _COVER = 1, 2, 3, 4


def anneal(number: int, epochs: int) -> float:
    """alpha = 1 - 0.8 (e - 1) / (E - 1) (P0 section 3.2; Stickland and Murray 2019); 1 if E = 1."""
    return 1.0 if epochs == 1 else 1.0 - 0.8 * (number - 1) / (epochs - 1)


def proportional(epoch: Epoch) -> list[Phase]:
    """P0's V-PCGrad, P3: p_i proportional to N_i, B examples an epoch."""
    return _drawn(epoch, 1.0)


def annealed(epoch: Epoch) -> list[Phase]:
    """P0's A-PCGrad, P3: p_i proportional to N_i^alpha, alpha falling from 1 to 0.2."""
    return _drawn(epoch, anneal(epoch.number, epoch.epochs))


def _drawn(epoch: Epoch, alpha: float) -> list[Phase]:
    """Steps of `draws_per_step` task draws; the draws of one task in a step form one batch."""
    tasks = list(epoch.sizes)
    weights = np.array([epoch.sizes[task] for task in tasks], dtype=np.float64) ** alpha
    probabilities = weights / weights.sum()
    choice = epoch.generator(_CHOICE, epoch.number)
    rows = {task: _Rows(epoch, task) for task in tasks}
    steps: list[Step] = []
    left = epoch.B
    while left > 0:
        taken = dict.fromkeys(tasks, 0)
        for drawn in choice.choice(
            len(tasks), size=epoch.draws_per_step or len(tasks), p=probabilities
        ):
            count = min(left, epoch.batch_sizes[tasks[drawn]])
            taken[tasks[drawn]] += count
            left -= count
        steps.append(tuple(Draw(t, rows[t].take(n)) for t, n in taken.items() if n))
    return [Phase("main", steps, epoch.frozen)]


class _Rows:
    """Rows of one task in shuffled order; an exhausted task starts over, reshuffled."""

    def __init__(self, epoch: Epoch, task: str):
        self.generator = epoch.generator(_SHUFFLE, epoch.number, epoch.task_number(task))
        self.size = epoch.sizes[task]
        self.order = self.generator.permutation(self.size)

    def take(self, count: int) -> np.ndarray:
        while len(self.order) < count:
            self.order = np.concatenate([self.order, self.generator.permutation(self.size)])
        taken, self.order = self.order[:count], self.order[count:]
        return taken


def round_robin(epoch: Epoch) -> list[Phase]:
    """P0's RR-PCGrad, P3's truncated triple-batch: one batch of every task each step.

    The epoch ends when the smallest task has been seen once; every task gives that many examples.
    """
    return [Phase("round_robin", _round_robin_steps(epoch), epoch.frozen)]


def _round_robin_steps(epoch: Epoch) -> list[Step]:
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
            shuffled = epoch.generator(_COVER, cycle, number).permutation(size)
            cycle += 1
            repeated = np.isin(shuffled, head)
            order = np.concatenate([shuffled[~repeated], shuffled[repeated]])
            needed = seen - len(head)
            head, tail = np.concatenate([head, order[:needed]]), order[needed:]
    return head


def arrp(epoch: Epoch) -> list[Phase]:
    """P0 section 4.2, Algorithm 3: round robin, then the task with most data alone.

    Phase 2 draws B examples (or all that are left) of that task without replacement from those
    that phase 1 did not use; its loss is multiplied by lambda and the set Theta' is frozen.  B
    counts examples (docs/methods.md).
    """
    first = Phase("round_robin", _round_robin_steps(epoch))
    task = max(epoch.sizes, key=lambda name: epoch.sizes[name])
    used = np.concatenate([d.rows for step in first.steps for d in step if d.task == task])
    left = np.setdiff1d(np.arange(epoch.sizes[task]), used, assume_unique=True)
    chosen = epoch.generator(_EXTRA, epoch.number).permutation(left)[: epoch.B]
    size = epoch.batch_sizes[task]
    steps = [(Draw(task, chosen[start : start + size]),) for start in range(0, len(chosen), size)]
    return [first, Phase("alternating", steps, epoch.frozen, epoch.loss_penalty)]


Sampler = Callable[[Epoch], list[Phase]]

SAMPLERS: dict[str, Sampler] = {
    "proportional": proportional,
    "annealed": annealed,
    "round_robin": round_robin,
    "arrp": arrp,
}
