"""PCGrad, gradient surgery: conflicting gradients lose their opposed parts.

Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", Algorithm 1 (P0 section 3.1), computed
on the Gramian alone.
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
    """The paper's sum of the projected gradients, or their mean (`reduction`)."""
    weights, project = _REDUCTIONS[config.reduction]
    return Combiner(config.combiner, True, weights, orders=projection_orders, project=project)


def projection_orders(size: int, generator: torch.Generator) -> Tensor:
    """Whom each of K gradients meets, and when: K random permutations of K, (K, K)."""
    return torch.stack([torch.randperm(size, generator=generator) for _ in range(size)])


def projected_weights(gramian: Tensor, orders: Tensor) -> Tensor:
    """Yu et al. 2020, Algorithm 1 (P0 section 3.1), on the Gramian.

    Row i of the projected gradients is sum_j c_ij g_j.  For each j of the i-th order, when
    g_i^PC . g_j < 0, g_i^PC loses its part along the *original* g_j: c_ij -= (c_i . G_j) / G_jj.
    Computed where the Gramian is; nothing waits for a GPU.
    """
    size = gramian.shape[0]
    if gramian.device.type != "cpu":
        return _projected_on_device(gramian.double(), orders)
    inner = gramian.double().tolist()  # K x K, K a handful: plain floats beat tensor calls
    total = [0.0] * size
    for i, order in enumerate(orders.tolist()):
        row = [0.0] * size
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
    own = torch.arange(size, device=gramian.device)
    rows = torch.eye(size, dtype=gramian.dtype, device=gramian.device)
    for partner in orders.unbind(1):
        met = gramian.index_select(0, partner)  # (K, K), row i: G of i's partner
        product = (rows * met).sum(1)
        length = met.gather(1, partner[:, None])[:, 0]
        acts = (product < 0) & (length > 0) & (partner != own)
        share = torch.where(acts, product / torch.where(length > 0, length, 1.0), 0.0)
        rows = rows.scatter_add(1, partner[:, None], -share[:, None])
    return rows.sum(0)


def pcgrad_weights(
    gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()
) -> Tensor:
    """`projected_weights` in orders drawn as `torch.randperm(K)`, task by task."""
    orders = projection_orders(gramian.shape[0], generator)
    return projected_weights(gramian, orders.to(gramian.device))


def projected_mean_weights(gramian: Tensor, orders: Tensor) -> Tensor:
    """The mean of the projected gradients, as the widely used ports of PCGrad take it."""
    return projected_weights(gramian, orders) / gramian.shape[0]


def pcgrad_mean_weights(
    gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()
) -> Tensor:
    """The mean of the projected gradients, as the widely used ports of PCGrad take it."""
    return pcgrad_weights(gramian, generator) / gramian.shape[0]


_REDUCTIONS = {
    "sum": (pcgrad_weights, projected_weights),
    "mean": (pcgrad_mean_weights, projected_mean_weights),
}
