"""Parameters as one flat tensor per segment, task gradients as rows of one matrix.

The model's parameters are views into `values`; their `.grad` are views into row k of J while task
k runs backward.  Combining is then one matrix-vector product and the optimizer sees a handful of
long tensors instead of a hundred short ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.heads import RELATED, MultitaskModel


@dataclass
class Segment:
    """A stretch of parameters that is frozen or trained as one.

    `values` (size,) is the optimizer's tensor.  `gradients` are the rows that parameters may
    accumulate into: K rows for a shared segment, one for a head.  `tasks` are those that use it,
    None for all; in a step that draws none of them it does not move.
    """

    name: str
    values: Tensor
    gradients: Tensor
    parameters: list[tuple[nn.Parameter, int]]
    tasks: frozenset[str] | None = None
    frozen: bool = False

    def point_at(self, row: int) -> None:
        """Let backward accumulate into this row (into nothing when frozen)."""
        for parameter, start in self.parameters:
            if self.frozen:
                parameter.grad = None
            else:
                part = self.gradients[row, start : start + parameter.numel()]
                parameter.grad = part.view_as(parameter)

    def freeze(self, frozen: bool) -> None:
        self.frozen = frozen
        for parameter, _ in self.parameters:
            parameter.requires_grad_(not frozen)


class FlatParameters:
    """Moves a model's parameters into flat storage and hands out rows for task gradients.

    Args:
        model: its parameters become views; their values are kept.
        rows: K, the most task gradients that are kept apart in one step.
    """

    def __init__(self, model: MultitaskModel, rows: int):
        named = _segments(model)
        shared = {name: parts for name, parts in named.items() if not name.startswith("head.")}
        heads = {name: parts for name, parts in named.items() if name.startswith("head.")}
        self.shared, self.jacobian = _flatten(shared, rows)
        self.heads, self._head_gradients = _flatten(heads, 1)
        self._idle: set[str] = set()

    @property
    def segments(self) -> list[Segment]:
        return [*self.shared, *self.heads]

    def freeze(self, names: Iterable[str]) -> None:
        """Freeze exactly these segments.  What is frozen gets no gradient at all, so that neither
        weight decay nor momentum moves it."""
        names = set(names)
        for segment in self.segments:
            segment.freeze(segment.name in names)
            segment.values.grad = None

    @property
    def any_shared_trains(self) -> bool:
        return not all(segment.frozen for segment in self.shared)

    def begin_step(self, rows: int, tasks: Sequence[str]) -> None:
        """Zero the gradients of `rows` rows and of the heads."""
        if self.any_shared_trains:
            self.jacobian[:rows].zero_()
        self._head_gradients.zero_()
        drawn = set(tasks)
        self._idle = {s.name for s in self.segments if s.tasks is not None and not s.tasks & drawn}
        for segment in self.heads:
            segment.point_at(0)
            moves = not segment.frozen and segment.name not in self._idle
            segment.values.grad = segment.gradients[0] if moves else None

    def point_at(self, row: int) -> None:
        """Let the next backward accumulate shared gradients into this row of J."""
        for segment in self.shared:
            segment.point_at(row)

    def gramian(self, rows: int) -> Tensor:
        """G = J J^T of the first rows, (K, K)."""
        return self.jacobian[:rows] @ self.jacobian[:rows].T

    def combine(self, weights: Tensor | None) -> None:
        """Set the shared update to w^T J, built in row 0 (left as it is without weights)."""
        update = self.jacobian[0]
        if weights is not None:
            update, *others = self.jacobian[: len(weights)]
            first, *rest = weights.tolist()
            update.mul_(first)
            for weight, row in zip(rest, others, strict=True):
                update.add_(row, alpha=weight)
        start = 0
        for segment in self.shared:
            end = start + segment.values.numel()
            moves = not segment.frozen and segment.name not in self._idle
            segment.values.grad = update[start:end] if moves else None
            start = end


def _segments(model: MultitaskModel) -> dict[str, list[nn.Parameter]]:
    encoder = model.encoder
    modules: dict[str, nn.Module | None] = {"embeddings": encoder.embeddings}
    modules |= {f"layers.{index}": layer for index, layer in enumerate(encoder.layers)}
    modules["pooler"] = encoder.pooler
    modules |= {"shared_layer": model.shared_layer, "relational_layer": model.relational_layer}
    modules |= {f"head.{name}": head for name, head in model.heads.items()}
    return {name: list(module.parameters()) for name, module in modules.items() if module}


def _users(segment: str) -> frozenset[str] | None:
    """The tasks that use a segment; None for all."""
    if segment == "relational_layer":
        return frozenset(RELATED)
    return frozenset([segment.removeprefix("head.")]) if segment.startswith("head.") else None


def _flatten(named: dict[str, list[nn.Parameter]], rows: int) -> tuple[list[Segment], Tensor]:
    everything = [parameter for parameters in named.values() for parameter in parameters]
    flat = torch.cat([parameter.detach().reshape(-1).float() for parameter in everything])
    gradients = torch.zeros(rows, flat.numel(), device=flat.device)
    segments = []
    start = 0
    for name, parameters in named.items():
        size = sum(parameter.numel() for parameter in parameters)
        segment = Segment(
            name, flat[start : start + size], gradients[:, start : start + size], [], _users(name)
        )
        offset = 0
        for parameter in parameters:
            part = segment.values[offset : offset + parameter.numel()]
            parameter.data = part.view_as(parameter)
            segment.parameters.append((parameter, offset))
            offset += parameter.numel()
        segments.append(segment)
        start += size
    return segments, gradients
