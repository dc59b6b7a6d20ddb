"""Per-task gradients become one update, seen only through their Gramian.

The rows of J (K, P) are the tasks' gradients of the shared parameters, and G = J J^T (K, K) holds
their inner products.  Any method that projects or reweights gradients is arithmetic on G that ends
in K weights w.  The update is w^T J.

Shapes: K tasks whose gradients are kept apart, P shared parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class CombinerError(ValueError):
    """A combiner that cannot be used; the text says what is allowed."""


def _no_state() -> None:
    """For combiners that keep nothing from one step to the next."""


@dataclass(frozen=True)
class Combiner:
    """How task gradients become one update.

    `weights(gramian, generator, names)` maps a (K, K) Gramian to K float64 weights.  `names` says
    whose gradients they are, for methods that remember pairs of tasks.  When `needs_gramian` is
    false the weights depend on K alone, and the loop adds all gradients up in one row instead of
    keeping them apart.  When `splits_steps` is true every draw of a step becomes a step of its own.
    `begin_epoch` forgets what earlier steps left behind.

    Where `weights` is random arithmetic and nothing else, `orders(K, generator)` draws the random
    part on the host and `project(gramian, orders)` does the rest on the Gramian's device.
    """

    name: str
    needs_gramian: bool
    weights: Callable[[Tensor, torch.Generator, Sequence[str]], Tensor]
    splits_steps: bool = False
    begin_epoch: Callable[[], None] = _no_state
    orders: Callable[[int, torch.Generator], Tensor] | None = None
    project: Callable[[Tensor, Tensor], Tensor] | None = None


def conflicts(gramian: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine (K, K) of every pair of gradients, 0 where one vanishes, and which pairs conflict."""
    gramian = gramian.double()
    norms = gramian.diagonal().clamp(min=0).sqrt()
    scale = norms[:, None] * norms[None, :]
    cosine = torch.where(scale > 0, gramian / scale.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    return cosine, cosine < 0
