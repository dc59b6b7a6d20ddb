"""One loss for all tasks, their sum or mean, or one step for each task's batch.

These are the baselines without gradient surgery, against which P0 to P4 compare.

Shapes: K tasks whose gradients are kept apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainer.combiners.base import Combiner

if TYPE_CHECKING:
    from trainer.config import TrainConfig


def sum_of_losses(config: TrainConfig) -> Combiner:
    """Plain joint loss: the sum of the task losses."""
    return Combiner(config.combiner, False, sum_weights)


def mean_of_losses(config: TrainConfig) -> Combiner:
    """Plain joint loss: the mean of the task losses."""
    return Combiner(config.combiner, False, mean_weights)


def sequential_steps(config: TrainConfig) -> Combiner:
    """P3's triple-batch baseline: one optimizer step for each task's batch."""
    return Combiner(config.combiner, False, sum_weights, splits_steps=True)


def sum_weights(gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
    """w_i = 1, (K,)."""
    return torch.ones(gramian.shape[0], dtype=torch.float64)


def mean_weights(gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
    """w_i = 1 / K, (K,)."""
    return torch.full((gramian.shape[0],), 1.0 / gramian.shape[0], dtype=torch.float64)
