"""PCGrad, gradient surgery: a gradient loses the parts that oppose those of other tasks.

Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", Algorithm 1 (P0 section 3.1), computed
on the Gramian G alone.

Shapes: K tasks whose gradients are kept apart.  Row i of the coefficients c (K, K) describes the
projected gradient of task i: g_i^PC = sum_j c_ij g_j.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainer.combiners.base import Combiner

if TYPE_CHECKING:
    from trainer.config import TrainConfig


def pcgrad(config: TrainConfig) -> Combiner:
    """The paper's sum of the projected gradients, or their mean, as many ports of PCGrad take it.

    `reduction` in the config chooses between them.
    """

    def project(gramian: Tensor, orders: Tensor) -> Tensor:
        divisor = {"sum": 1, "mean": len(gramian)}[config.reduction]
        return projected_weights(gramian, orders) / divisor  # (K,)

    def weights(gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
        return project(gramian, projection_orders(len(gramian), generator).to(gramian.device))

    return Combiner(config.combiner, True, weights, orders=projection_orders, project=project)


def projection_orders(size: int, generator: torch.Generator) -> Tensor:
    """The order in which each gradient is projected onto the others: K random permutations of K.

    (K, K), drawn as `torch.randperm(K)`, task by task.
    """
    return torch.stack([torch.randperm(size, generator=generator) for _ in range(size)])


def projected_weights(gramian: Tensor, orders: Tensor) -> Tensor:
    """Weights (K,) of the sum of the projected gradients, for G (K, K) and orders (K, K).

    For each j of the i-th order: if g_i^PC . g_j < 0, g_i^PC loses its part along the *original*
    g_j, c_ij -= (c_i . G_j) / G_jj.  It is computed on the device of G, so nothing waits for a GPU.
    """
    size = gramian.shape[0]
    if gramian.device.type != "cpu":
        return _projected_on_device(gramian.double(), orders)
    # K is small, so plain floats are faster than calls of torch.
    inner = gramian.double().tolist()  # K x K
    total = [0.0] * size
    for i, order in enumerate(orders.tolist()):
        row = [0.0] * size  # c_i
        row[i] = 1.0
        for j in order:
            if j == i:
                continue
            product = sum(c * g for c, g in zip(row, inner[j], strict=True))
            if product < 0.0 < inner[j][j]:
                row[j] -= product / inner[j][j]
        total = [a + b for a, b in zip(total, row, strict=True)]
    return torch.tensor(total, dtype=torch.float64)


def _projected_on_device(gramian: Tensor, orders: Tensor) -> Tensor:
    """The same for all i at once: step s projects every row i onto its s-th partner."""
    size = gramian.shape[0]
    numbers = torch.arange(size, device=gramian.device)  # (K,)
    rows = torch.eye(size, dtype=gramian.dtype, device=gramian.device)  # c, (K, K)
    for partner in orders.unbind(1):  # (K,)
        partner_gramian = gramian.index_select(0, partner)  # (K, K), row i: G of i's partner
        product = (rows * partner_gramian).sum(1)  # (K,)
        length = partner_gramian.gather(1, partner[:, None])[:, 0]  # (K,)
        acts = (product < 0) & (length > 0) & (partner != numbers)
        share = torch.where(acts, product / torch.where(length > 0, length, 1.0), 0.0)  # (K,)
        rows = rows.scatter_add(1, partner[:, None], -share[:, None])
    return rows.sum(0)  # (K,)
