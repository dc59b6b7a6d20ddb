"""What each optimizer step sees: an epoch is phases, a phase is steps, a step is draws.

Samplers are pure functions.  The phases of an epoch follow from the sizes of the training sets, the
config, the seed and the epoch's number.  So a resumed trial sees exactly what a trial without
interruption sees.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading a config imports this module, and numpy imports slowly
    import numpy as np


class SamplerError(ValueError):
    """Data that a sampler cannot work with.  The message says why."""


@dataclass(frozen=True)
class Draw:
    """Examples of one task in one step: `rows` int64 (n,) are row numbers of its training set."""

    task: str
    rows: np.ndarray
    #: How many of the rows each pass of the step computes; empty if there is one pass.
    passes: tuple[int, ...] = ()


Step = tuple[Draw, ...]


@dataclass(frozen=True)
class Phase:
    """Steps with the same frozen parameters."""

    name: str
    steps: Sequence[Step]
    frozen: str = "none"
    #: Factor on every loss (ARRP's lambda).
    loss_scale: float = 1.0
    #: The optimizer state that the phase uses.  Phases with the same name share it.
    optimizer: str = "main"

    @property
    def examples(self) -> int:
        return sum(len(draw.rows) for step in self.steps for draw in step)


@dataclass(frozen=True)
class Epoch:
    """Everything that a sampler may read."""

    sizes: dict[str, int]
    batch_sizes: dict[str, int]
    #: From 1 to `epochs`.
    number: int
    epochs: int
    seed: int
    B: int | dict[str, int] = 0
    steps_per_epoch: int = 0
    draws_per_step: int = 0
    annealing: float = 0.8
    loss_penalty: float | dict[str, float] = 1.0
    frozen: str = "none"
    train_task: str = ""
    task_order: Sequence[str] = ()
    pretrain_epochs: int = 1
    optimizer_per_task: bool = False

    def generator(self, *purpose: int) -> np.random.Generator:
        """A random stream that belongs to this seed and purpose alone."""
        import numpy as np

        return np.random.default_rng(np.random.SeedSequence([self.seed, *purpose]))

    def task_number(self, task: str) -> int:
        return list(self.sizes).index(task)

    @property
    def largest(self) -> str:
        """The task with the most data."""
        return max(self.sizes, key=lambda name: self.sizes[name])


Sampler = Callable[[Epoch], list[Phase]]


def split_steps(phase: Phase) -> Phase:
    """The phase with every draw as a step of its own."""
    return dataclasses.replace(phase, steps=[(draw,) for step in phase.steps for draw in step])


def accumulate(phase: Phase, count: int) -> Phase:
    """The phase with every `count` consecutive steps as one, which is computed in as many passes.

    The last step joins those that are left.  A task's draws become one draw, as if its batch had
    been larger.
    """
    if count == 1:
        return phase
    starts = range(0, len(phase.steps), count)
    steps = [_joined(phase.steps[start : start + count]) for start in starts]
    return dataclasses.replace(phase, steps=steps)


def _joined(steps: Sequence[Step]) -> Step:
    import numpy as np

    rows: dict[str, list[np.ndarray]] = {draw.task: [] for step in steps for draw in step}
    for step in steps:
        drawn = {draw.task: draw.rows for draw in step}
        for task, parts in rows.items():
            parts.append(drawn.get(task, np.empty(0, dtype=np.int64)))
    return tuple(
        Draw(task, np.concatenate(parts), tuple(map(len, parts))) for task, parts in rows.items()
    )


def passes_of(step: Step) -> list[Step]:
    """The parts of a step that are computed one after the other."""
    if not step[0].passes:
        return [step]
    passes: list[Step] = []
    for number in range(len(step[0].passes)):
        draws = []
        for draw in step:
            start = sum(draw.passes[:number])
            if count := draw.passes[number]:
                draws.append(Draw(draw.task, draw.rows[start : start + count]))
        if draws:  # a step of its own for each task leaves passes without examples
            passes.append(tuple(draws))
    return passes


#: Purposes of the random streams.  Another number would change every trial.
SHUFFLE, CHOICE, EXTRA, COVER = 1, 2, 3, 4
