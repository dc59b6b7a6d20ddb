"""Per-task gradients -> one update, seen only through their Gramian.

The rows of J are the tasks' gradients of the shared parameters, G = J J^T their inner products.
Any method that projects or reweights gradients is arithmetic on G that ends in K weights w; the
update is w^T J.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor


class CombinerError(ValueError):
    """A combiner that cannot be used; the text says what is allowed."""


@dataclass(frozen=True)
class Combiner:
    """How task gradients become one update.

    `weights(gramian, generator)` maps a (K, K) Gramian to K float64 weights.  When
    `needs_gramian` is false the weights depend on K alone, and the loop accumulates all
    gradients in one row instead of keeping them apart.  When `splits_steps` is true every draw of
    a step becomes a step of its own.
    """

    name: str
    needs_gramian: bool
    weights: Callable[[Tensor, torch.Generator], Tensor]
    splits_steps: bool = False


def sum_weights(gramian: Tensor, generator: torch.Generator) -> Tensor:
    """Plain joint loss: the sum of the task losses."""
    return torch.ones(gramian.shape[0], dtype=torch.float64)


def mean_weights(gramian: Tensor, generator: torch.Generator) -> Tensor:
    """Plain joint loss: the mean of the task losses."""
    return torch.full((gramian.shape[0],), 1.0 / gramian.shape[0], dtype=torch.float64)


def pcgrad_weights(gramian: Tensor, generator: torch.Generator) -> Tensor:
    """Yu et al. 2020, Algorithm 1 (P0 section 3.1), on the Gramian.

    Row i of the projected gradients is sum_j c_ij g_j.  For each j in a random order, when
    g_i^PC . g_j < 0, g_i^PC loses its part along the *original* g_j: c_ij -= (c_i . G_j) / G_jj.
    The orders are drawn as `torch.randperm(K)`, task by task.
    """
    size = gramian.shape[0]
    inner = gramian.double().tolist()  # K x K, K a handful: plain floats beat tensor calls
    total = [0.0] * size
    for i in range(size):
        order = torch.randperm(size, generator=generator).tolist()
        row = [0.0] * size
        row[i] = 1.0
        for j in order:
            if j == i:
                continue
            product = sum(c * g for c, g in zip(row, inner[j], strict=True))
            if product < 0.0:
                row[j] -= product / inner[j][j]
        total = [a + b for a, b in zip(total, row, strict=True)]
    return torch.tensor(total, dtype=torch.float64)


def pcgrad_mean_weights(gramian: Tensor, generator: torch.Generator) -> Tensor:
    """The mean of the projected gradients, as the widely used ports of PCGrad take it."""
    return pcgrad_weights(gramian, generator) / gramian.shape[0]


def torchjd_weights(
    method: str, options: Mapping[str, float]
) -> Callable[[Tensor, torch.Generator], Tensor]:
    """A published method by torchjd's weighting of the Gramian: `UPGrad`, `CAGrad`, `MGDA`, ...

    Raises `CombinerError` if torchjd is not installed, the method is none of those that need the
    Gramian alone, keeps a state between steps (a resume would not be exact), or the options do
    not fit.
    """
    try:
        from torchjd import aggregation
        from torchjd.aggregation import GramianWeightedAggregator
    except ImportError:
        raise CombinerError(
            f"combiner torchjd.{method}: torchjd is not installed; "
            "install it with: pip install -c constraints.txt -e '.[torchjd]'"
        ) from None
    usable = {
        name: kind
        for name, kind in vars(aggregation).items()
        if isinstance(kind, type)
        and issubclass(kind, GramianWeightedAggregator)
        and kind is not GramianWeightedAggregator
        and not hasattr(kind, "reset")
    }
    if method not in usable:
        raise CombinerError(
            f"combiner torchjd.{method}: unknown or not usable method; "
            f"allowed: {', '.join('torchjd.' + name for name in sorted(usable))}"
        )
    try:
        weighting = usable[method](**options).gramian_weighting
    except (TypeError, ValueError, ImportError) as error:
        raise CombinerError(f"combiner torchjd.{method}: {error}") from error

    def weights(gramian: Tensor, generator: torch.Generator) -> Tensor:
        # Their solvers have absolute tolerances: hand them a Gramian of order one.
        scale = gramian.diagonal().max().clamp(min=torch.finfo(torch.float64).tiny)
        return weighting((gramian.double() / scale).cpu()).double()

    return weights


def combiner(
    name: str, reduction: str = "sum", options: Mapping[str, float] | None = None
) -> Combiner:
    """The combiner a config names; `reduction` acts on `pcgrad`, `options` on torchjd's."""
    if name.startswith("torchjd."):
        weights = torchjd_weights(name.removeprefix("torchjd."), options or {})
        return Combiner(name, True, weights)
    if name == "pcgrad":
        weights = pcgrad_weights if reduction == "sum" else pcgrad_mean_weights
        return Combiner(name, True, weights)
    if name == "sequential_step":  # P3's triple-batch baseline: one optimizer step a task batch
        return Combiner(name, False, sum_weights, splits_steps=True)
    return Combiner(name, False, {"sum": sum_weights, "mean": mean_weights}[name])


def conflicts(gramian: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine (K, K) of every pair of gradients, 0 where one vanishes, and which pairs conflict."""
    gramian = gramian.double()
    norms = gramian.diagonal().clamp(min=0).sqrt()
    scale = norms[:, None] * norms[None, :]
    cosine = torch.where(scale > 0, gramian / scale.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    return cosine, cosine < 0
