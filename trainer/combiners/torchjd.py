"""The published methods of the package torchjd, through its weightings of the Gramian G.

Each method's paper is named in trainer/combiners/registry.py.

Shapes: K tasks whose gradients are kept apart.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer.combiners.base import Combiner, CombinerError

if TYPE_CHECKING:
    from trainer.config import TrainConfig

#: How their names begin in a config.
PREFIX = "torchjd."
#: Methods that get a square root of G instead of J.  Their weights depend on J through G alone, but
#: torchjd wants to compute G itself.
_THROUGH_ROOT = ("NashMTL",)
#: Methods whose update does not scale with the gradients.
_OWN_LENGTH = ("NashMTL", "FairGrad")


def torchjd(config: TrainConfig) -> Combiner:
    """The method that the config names, with its `combiner_options`.

    Some methods keep a state between steps: GradVac its moving targets, NashMTL its last solution.
    They start again in every epoch, so that a resumed trial equals one without interruption.

    Raises:
        CombinerError: torchjd or a solver is not installed, or the options do not fit the method.
    """
    method = config.combiner.removeprefix(PREFIX)
    try:
        from torchjd import aggregation
    except ImportError:
        raise CombinerError(
            f"combiner torchjd.{method}: torchjd is not installed; "
            "install it with: pip install -c constraints.txt -e '.[torchjd]'"
        ) from None
    kind = getattr(aggregation, method)
    options = {
        key: int(value) if float(value).is_integer() else value
        for key, value in config.combiner_options.items()
    }
    takes_tasks = "n_tasks" in inspect.signature(kind).parameters
    #: By the names of the tasks, because a state belongs to the tasks of its gradients.
    aggregators: dict[tuple[str, ...], Any] = {}

    def aggregator(names: tuple[str, ...]) -> Any:
        if names not in aggregators:
            aggregators[names] = kind(**options | ({"n_tasks": len(names)} if takes_tasks else {}))
        return aggregators[names]

    def weights(gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
        gramian = gramian.double().cpu()
        names = names or [str(number) for number in range(len(gramian))]
        # Zero gradients are left out, because some solvers divide by their length.
        nonzero = gramian.diagonal() > 0  # (K,)
        weights = torch.ones(len(gramian), dtype=torch.float64)
        if nonzero.sum() > 1:
            chosen = tuple(name for name, use in zip(names, nonzero.tolist(), strict=True) if use)
            weights[nonzero] = solve(gramian[nonzero][:, nonzero], chosen)
        return weights

    def solve(gramian: Tensor, names: tuple[str, ...]) -> Tensor:
        if method in _THROUGH_ROOT:
            return aggregator(names).weighting(_root(gramian)).double()
        # The solvers have absolute tolerances, so they get a Gramian of order one.
        scale = 1.0 if method in _OWN_LENGTH else float(gramian.diagonal().max())
        return aggregator(names).gramian_weighting(gramian / scale).double()

    try:
        aggregator(("", " "))
    except (TypeError, ValueError, ImportError) as error:
        raise CombinerError(f"combiner torchjd.{method}: {error}") from error
    return Combiner(config.combiner, True, weights, begin_epoch=aggregators.clear)


def _root(gramian: Tensor) -> Tensor:
    """R (K, K) with R R^T = G."""
    values, vectors = torch.linalg.eigh(gramian)
    return vectors * values.clamp(min=0.0).sqrt()
