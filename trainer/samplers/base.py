"""What each optimisation step sees: an epoch is phases, a phase is steps, a step is draws.

Samplers are pure and seeded.  The phases of an epoch are a function of sizes, config, seed and the
epoch's number, so a resumed trial sees exactly what an undisturbed one would have seen.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # reading a config loads this module, and numpy loads slowly
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
        """A random stream of its own for every (seed, purpose)."""
        import numpy as np

        return np.random.default_rng(np.random.SeedSequence([self.seed, *purpose]))

    def task_number(self, task: str) -> int:
        return list(self.sizes).index(task)

    @property
    def largest(self) -> str:
        """The task with most data."""
        return max(self.sizes, key=lambda name: self.sizes[name])


Sampler = Callable[[Epoch], list[Phase]]


def split_steps(phase: Phase) -> Phase:
    """The same draws, each a step of its own."""
    return dataclasses.replace(phase, steps=[(draw,) for step in phase.steps for draw in step])


# Purposes of the random streams.  The numbers are fixed: a changed one would change every trial.
SHUFFLE, CHOICE, EXTRA, COVER = 1, 2, 3, 4
