"""Published methods of the torchjd package, by its weightings of the Gramian."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainer.combiners.base import Combiner, CombinerError

if TYPE_CHECKING:
    from trainer.config import TrainConfig

#: Prefix of their names in a config.
PREFIX = "torchjd."
#: Methods whose weights depend on J through its Gramian alone although torchjd computes it itself:
#: they are handed a square root of G in J's place.
_THROUGH_ROOT = ("NashMTL",)
#: Methods whose update has a length of its own, whatever that of the gradients.
_OWN_LENGTH = ("NashMTL", "FairGrad")


def torchjd(config: TrainConfig) -> Combiner:
    """The method that the config names, with its `combiner_options`.  Raises `CombinerError`."""
    return torchjd_combiner(config.combiner.removeprefix(PREFIX), config.combiner_options)


def torchjd_combiner(method: str, options: Mapping[str, float]) -> Combiner:
    """A published method by torchjd's weighting of the Gramian: `UPGrad`, `CAGrad`, `MGDA`, ...

    A method that keeps a state between steps (GradVac's moving targets, NashMTL's last solution)
    starts anew in every epoch, so that a resumed trial equals an undisturbed one.

    Raises `CombinerError` if torchjd or a solver is not installed, the method needs more than the
    Gramian, or the options do not fit.
    """
    try:
        from torchjd import aggregation
    except ImportError:
        raise CombinerError(
            f"combiner torchjd.{method}: torchjd is not installed; "
            "install it with: pip install -c constraints.txt -e '.[torchjd]'"
        ) from None
    kind = getattr(aggregation, method)
    whole = {k: int(v) if float(v).is_integer() else v for k, v in options.items()}
    counts_tasks = "n_tasks" in inspect.signature(kind).parameters
    made: dict[tuple[str, ...], Any] = {}  # a state belongs to the tasks that it was made with

    def aggregator(names: tuple[str, ...]) -> Any:
        if names not in made:
            made[names] = kind(**whole | ({"n_tasks": len(names)} if counts_tasks else {}))
        return made[names]

    def weights(gramian: Tensor, generator: torch.Generator, names: Sequence[str] = ()) -> Tensor:
        gramian = gramian.double().cpu()
        names = names or [str(number) for number in range(len(gramian))]
        # A vanished gradient has nothing to say, and some solvers divide by its length.
        alive = gramian.diagonal() > 0
        found = torch.ones(len(gramian), dtype=torch.float64)
        if alive.sum() > 1:
            kept = tuple(name for name, lives in zip(names, alive.tolist(), strict=True) if lives)
            found[alive] = solve(gramian[alive][:, alive], kept)
        return found

    def solve(gramian: Tensor, names: tuple[str, ...]) -> Tensor:
        if method in _THROUGH_ROOT:
            return aggregator(names).weighting(_root(gramian)).double()
        # The solvers have absolute tolerances: hand them a Gramian of order one.
        scale = 1.0 if method in _OWN_LENGTH else float(gramian.diagonal().max())
        return aggregator(names).gramian_weighting(gramian / scale).double()

    try:
        aggregator(("", " "))
    except (TypeError, ValueError, ImportError) as error:
        raise CombinerError(f"combiner torchjd.{method}: {error}") from error
    return Combiner(f"torchjd.{method}", True, weights, begin_epoch=made.clear)


def _root(gramian: Tensor) -> Tensor:
    """R (K, K) with R R^T = G."""
    values, vectors = torch.linalg.eigh(gramian)
    return vectors * values.clamp(min=0.0).sqrt()
