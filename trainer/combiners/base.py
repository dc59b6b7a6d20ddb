"""Task gradients become one update, and a combiner sees them only through their Gramian.

The rows of J (K, P) are the tasks' gradients of the shared parameters.  G = J J^T (K, K) holds
their inner products.  A method that projects or reweights gradients is arithmetic on G that ends
in K weights w.  The update is w^T J.

Shapes: K tasks whose gradients are kept apart, P shared parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


class CombinerError(ValueError):
    """A combiner that cannot be used.  The message says what is allowed."""


def _no_state() -> None:
    """For combiners that keep nothing from one step to the next."""


@dataclass(frozen=True)
class Combiner:
    """How task gradients become one update."""

    name: str
    #: Whether the weights depend on G.  If they depend on K alone, all gradients are added up in
    #: one row, and J is not needed.
    needs_gramian: bool
    #: `weights(gramian, generator, names)`: from G (K, K) to the weights (K,), float64.  `names`
    #: says whose gradients they are, for methods that remember pairs of tasks.
    weights: Callable[[Tensor, torch.Generator, Sequence[str]], Tensor]
    #: Whether every draw of a step becomes a step of its own.
    splits_steps: bool = False
    #: Forgets what earlier steps left behind.
    begin_epoch: Callable[[], None] = _no_state
    #: A combiner whose random choices do not depend on G can make them on the host:
    #: `orders(K, generator)` makes them, and `project(gramian, orders)` computes the weights (K,)
    #: on the device of G.
    orders: Callable[[int, torch.Generator], Tensor] | None = None
    project: Callable[[Tensor, Tensor], Tensor] | None = None


def conflicts(gramian: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines (K, K) of all pairs of gradients, and which pairs conflict (K, K).

    A cosine is 0 if one of the gradients is zero.  A pair conflicts if its cosine is negative.
    """
    gramian = gramian.double()
    norms = gramian.diagonal().clamp(min=0).sqrt()  # (K,)
    scale = norms[:, None] * norms[None, :]  # (K, K)
    cosine = torch.where(scale > 0, gramian / scale.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    return cosine, cosine < 0
