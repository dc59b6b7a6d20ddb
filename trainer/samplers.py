"""What each optimisation step sees: an epoch is phases, a phase steps, a step draws.

Samplers are pure and seeded: the plan of an epoch is a function of (sizes, config, seed, epoch), so
that a resumed trial sees exactly what an undisturbed one would have.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


class SamplerError(ValueError):
    """Data with which a sampler cannot keep its promise."""


@dataclass(frozen=True)
class Draw:
    """Examples of one task in one step: `rows` are int64 row numbers of its training set."""

    task: str
    rows: np.ndarray


Step = tuple[Draw, ...]


@dataclass(frozen=True)
class Phase:
    """Steps under one frozen set; `loss_scale` multiplies every loss (ARRP's lambda).

    `optimizer` names the optimizer state that the phase uses: phases with the same name share it.
    """

    name: str
    steps: Sequence[Step]
    frozen: str = "none"
    loss_scale: float = 1.0
    optimizer: str = "main"

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
    B: int | dict[str, int] = 0
    steps_per_epoch: int = 0
    draws_per_step: int = 0
    loss_penalty: float | dict[str, float] = 1.0
    frozen: str = "none"
    train_task: str = ""
    task_order: Sequence[str] = ()
    pretrain_epochs: int = 1
    optimizer_per_task: bool = False

    def generator(self, *purpose: int) -> np.random.Generator:
        """A stream of its own for every (seed, purpose)."""
        return np.random.default_rng(np.random.SeedSequence([self.seed, *purpose]))

    def task_number(self, task: str) -> int:
        return list(self.sizes).index(task)

    @property
    def largest(self) -> str:
        """The task with most data."""
        return max(self.sizes, key=lambda name: self.sizes[name])


def split_steps(phase: Phase) -> Phase:
    """The same draws, each a step of its own."""
    return dataclasses.replace(phase, steps=[(draw,) for step in phase.steps for draw in step])


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
    draws = epoch.draws_per_step or len(tasks)
    steps: list[Step] = []
    left = sys.maxsize if epoch.steps_per_epoch else single_number(epoch.B)
    while left > 0 and len(steps) < (epoch.steps_per_epoch or sys.maxsize):
        taken = dict.fromkeys(tasks, 0)
        for drawn in choice.choice(len(tasks), size=draws, p=probabilities):
            count = min(left, epoch.batch_sizes[tasks[drawn]])
            taken[tasks[drawn]] += count
            left -= count
        steps.append(tuple(Draw(t, rows[t].take(n)) for t, n in taken.items() if n))
    return [Phase("main", steps, epoch.frozen)]


def single_number(B: int | dict[str, int]) -> int:
    """B where it cannot be a mapping (the config's check has refused one)."""
    assert isinstance(B, int)
    return B


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
    counts examples (docs/methods.md).  Where several tasks are large (P0's future work), B is a
    mapping and phase 2 visits each of its tasks, in the order of the trial's tasks, with its own B
    and lambda.
    """
    first = Phase("round_robin", _round_robin_steps(epoch))
    budgets = epoch.B if isinstance(epoch.B, dict) else {epoch.largest: epoch.B}
    phases = [first]
    for task in epoch.sizes:
        if task not in budgets:
            continue
        used = np.concatenate([d.rows for step in first.steps for d in step if d.task == task])
        left = np.setdiff1d(np.arange(epoch.sizes[task]), used, assume_unique=True)
        if not len(left):
            raise SamplerError(
                f"sampler arrp: round robin uses all {epoch.sizes[task]} examples of {task}, so "
                "the second phase has none; give it a task with more data than the smallest"
            )
        purpose = (_EXTRA, epoch.number, epoch.task_number(task))
        chosen = epoch.generator(*purpose).permutation(left)[: budgets[task]]
        penalty = epoch.loss_penalty
        scale = penalty[task] if isinstance(penalty, dict) else penalty
        name = "alternating" if len(budgets) == 1 else f"alternating.{task}"
        phases.append(Phase(name, _alone(epoch, task, chosen), epoch.frozen, scale))
    return phases


def _alone(epoch: Epoch, task: str, rows: np.ndarray) -> list[Step]:
    """Batches of one task, a batch a step."""
    size = epoch.batch_sizes[task]
    return [(Draw(task, rows[start : start + size]),) for start in range(0, len(rows), size)]


def _whole(epoch: Epoch, task: str) -> list[Step]:
    """Every example of a task once, shuffled."""
    return _alone(epoch, task, _Rows(epoch, task).take(epoch.sizes[task]))


def cycle(epoch: Epoch) -> list[Phase]:
    """P1's finetune-mix (max_size_cycle): one batch of every task each step until the task with
    most batches is exhausted; the others start over, reshuffled."""
    counts = {task: -(-size // epoch.batch_sizes[task]) for task, size in epoch.sizes.items()}
    longest = max(counts.values())
    rows = {task: _Rows(epoch, task) for task in epoch.sizes}
    steps = []
    for index in range(longest):
        draws = []
        for task, size in epoch.sizes.items():
            batch = epoch.batch_sizes[task]
            # Only the task that ends the epoch has a short last batch: it is seen exactly once.
            left = size - index * batch if counts[task] == longest else batch
            draws.append(Draw(task, rows[task].take(min(batch, left))))
        steps.append(tuple(draws))
    return [Phase("cycle", steps, epoch.frozen)]


def sequential(epoch: Epoch) -> list[Phase]:
    """P1's finetune-seq: each task in turn, whole, in the given order (P1: qqp, sst, sts)."""
    return [
        Phase(
            task,
            _whole(epoch, task),
            epoch.frozen,
            optimizer=task if epoch.optimizer_per_task else "main",
        )
        for task in epoch.task_order or epoch.sizes
    ]


def interleaved(epoch: Epoch) -> list[Phase]:
    """P4's rrobin-full: one batch of every task each step, all tasks finishing together.

    The smallest task keeps its batch size; the others' grow in proportion to their data.
    """
    smallest = min(epoch.sizes, key=lambda name: epoch.sizes[name])
    count = -(-epoch.sizes[smallest] // epoch.batch_sizes[smallest])
    parts = {
        task: np.array_split(_Rows(epoch, task).take(size), count)
        for task, size in epoch.sizes.items()
    }
    steps = [tuple(Draw(task, parts[task][i]) for task in epoch.sizes) for i in range(count)]
    return [Phase("interleaved", steps, epoch.frozen)]


def single_task(epoch: Epoch) -> list[Phase]:
    """One task only, each example once (P0's, P2's and P4's baselines)."""
    task = epoch.train_task or epoch.largest
    return [Phase(task, _whole(epoch, task), epoch.frozen)]


def rr_pretrain(epoch: Epoch) -> list[Phase]:
    """P4's rrobin-pre: the data-rich task whole, then round robin.

    The first `pretrain_epochs` epochs open with that phase; the others are plain round robin.
    """
    rich = epoch.train_task or epoch.largest
    opening = [Phase("pretrain", _whole(epoch, rich), epoch.frozen)]
    phase = Phase("round_robin", _round_robin_steps(epoch), epoch.frozen)
    return [*(opening if epoch.number <= epoch.pretrain_epochs else []), phase]


Sampler = Callable[[Epoch], list[Phase]]

SAMPLERS: dict[str, Sampler] = {
    "proportional": proportional,
    "annealed": annealed,
    "round_robin": round_robin,
    "arrp": arrp,
    "cycle": cycle,
    "sequential": sequential,
    "interleaved": interleaved,
    "single_task": single_task,
    "rr_pretrain": rr_pretrain,
}
