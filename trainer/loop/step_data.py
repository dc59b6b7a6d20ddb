"""A step as data: what is fixed before it computes anything, its inputs, and its results.

Shapes: K tasks whose gradients are kept apart.  Draw i, in the order of the rows of J, has n_i
examples, a loss () and outputs (n_i, classes) or (n_i,).
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from trainer.model.packing import Packed


@dataclass(frozen=True)
class StepLayout:
    """What is fixed before a step computes anything.  Steps of equal layouts differ only in data.

    `tasks`, `rows`, `weights` and `places` have one entry per draw, in the order of the rows of J.
    """

    tasks: tuple[str, ...]
    #: The row of J.
    rows: tuple[int, ...]
    #: The weight of the loss in the sum that is differentiated.
    weights: tuple[float, ...]
    #: The draw's place in the step.
    places: tuple[int, ...]
    #: The tasks, or groups of tasks, whose gradients are kept apart: one for each row of J.  Empty
    #: if none are.
    groups: tuple[str, ...]
    #: Whether the combiner weighs the rows.  Otherwise they are added up.
    surgery: bool
    #: Factor on every loss (ARRP's lambda).
    loss_scale: float
    #: The optimizer state that the step updates with.
    optimizer: str


@dataclass
class Pass:
    """What one pass of a step computes, on the device.  A step has several if they accumulate."""

    #: The numbers of its draws, in the order of the rows of J.
    draws: tuple[int, ...]
    #: By draw, the share of the draw's examples that this pass computes.
    shares: tuple[float, ...]
    packed: Packed
    #: One tensor for each of its draws.
    labels: list[Tensor]
    #: Each draw packed by itself, for SMART.
    single: list[Packed]

    def key(self) -> Hashable:
        """Everything that a captured step has fixed, except the sizes of its tensors."""
        packed = self.packed
        return self.draws, self.shares, packed.spans, packed.counts, packed.longest_bound


@dataclass
class Inputs:
    """A step's data on the device."""

    passes: list[Pass]
    #: (K, K), the combiner's random choices, if it has any.
    orders: Tensor | None

    @property
    def words(self) -> Tensor:
        """The distinct words of the whole step, int64 (U,)."""
        return self.passes[0].packed.words

    @property
    def labels(self) -> list[Tensor]:
        """The labels (n_i,) of each draw."""
        return joined([(part.draws, part.labels) for part in self.passes])

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a captured step reads, by name."""
        tensors = {} if self.orders is None else {"orders": self.orders}
        for number, part in enumerate(self.passes):
            for name, tensor in part.packed.tensors().items():
                tensors[f"{number}.{name}"] = tensor
            for draw, labels in zip(part.draws, part.labels, strict=True):
                tensors[f"{number}.labels{draw}"] = labels
        return tensors

    def with_tensors(self, tensors: dict[str, Tensor]) -> Inputs:
        """The same step, reading from other memory."""
        passes = []
        for number, part in enumerate(self.passes):
            own = {name: tensors[f"{number}.{name}"] for name in part.packed.tensors()}
            labels = [tensors[f"{number}.labels{draw}"] for draw in part.draws]
            passes.append(replace(part, packed=part.packed.with_tensors(own), labels=labels))
        return Inputs(passes, tensors.get("orders"))


@dataclass
class Outputs:
    """Losses and outputs of every draw, and G (K, K) if gradients were kept apart."""

    losses: list[Tensor]
    outputs: list[Tensor]
    gramian: Tensor | None


def joined(passes: Sequence[tuple[Sequence[int], Sequence[Tensor]]]) -> list[Tensor]:
    """By draw, the tensors of all passes end to end; each pass names its draws."""
    parts: dict[int, list[Tensor]] = {}
    for draws, tensors in passes:
        for draw, tensor in zip(draws, tensors, strict=True):
            parts.setdefault(draw, []).append(tensor)
    return [_end_to_end(parts[draw]) for draw in sorted(parts)]


def _end_to_end(tensors: list[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.cat(tensors)
