"""Parameters as one flat tensor per segment, task gradients as rows of one matrix.

The model's parameters are views into `values`; backward puts their gradients of task k into row k
of J (`trainer.model.task_gradients`).  Combining is then one matrix-vector product and the
optimizer sees a handful of long tensors instead of a hundred short ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.model.heads import RELATED, MultitaskModel
from trainer.model.task_gradients import Rows, RowState, rows_of

#: Columns of J that are multiplied at a time: all rows of them fit a core's cache.
_CHUNK = 2**12


@dataclass
class Segment:
    """A stretch of parameters that is frozen or trained as one.

    `values` (size,) is the optimizer's tensor, `update` (size,) its gradient.  `tasks` are those
    that use it, None for all; in a step that draws none of them it does not move.
    """

    name: str
    values: Tensor
    update: Tensor
    parameters: list[nn.Parameter]
    tasks: frozenset[str] | None = None
    frozen: bool = False


class FlatParameters:
    """Moves a model's parameters into flat storage and hands out rows for task gradients.

    Of the word embeddings a step touches a few hundred rows out of tens of thousands: their
    gradients are kept for the step's distinct words alone and only the update is dense.

    Args:
        model: its parameters become views; their values are kept.
        rows: K, the most task gradients that are kept apart in one step.
        dtype: the precision of the computation; where it is not fp32 every shared parameter but
            the word embeddings has a copy in it, made anew in `begin_step` and `refresh`.
    """

    def __init__(self, model: MultitaskModel, rows: int, dtype: torch.dtype = torch.float32):
        named = _segments(model)
        self._word = model.encoder.embeddings.word.weight
        shared = {name: parts for name, parts in named.items() if not name.startswith("head.")}
        heads = {name: parts for name, parts in named.items() if name.startswith("head.")}
        self.shared, values, self._update = _flatten(shared)
        self.heads, _, self._head_update = _flatten(heads)
        self.state = RowState()
        size = self._word.numel()  # the first of all: `_segments` begins with the embeddings
        #: J without the word embeddings, (K, P) and zeros up to a whole number of chunks; K = 0
        #: where no gradients are kept apart.
        width = -(-(len(values) - size) // _CHUNK) * _CHUNK
        self.jacobian = values.new_zeros(rows if rows > 1 else 0, width)
        self._values, self._alone = values[size:], self._update[size:]
        self._low = self._values.to(dtype) if dtype != values.dtype else None
        self._idle: set[str] = set()
        self._give_rows()

    def _give_rows(self) -> None:
        """Tell every shared parameter where its gradients go and where its low copy is."""
        self._word.rows = Rows(self.state, None, None, sparse=True)  # type: ignore[attr-defined]
        start = 0
        for segment, parameter in self._dense():
            end = start + parameter.numel()
            parameter.rows = Rows(  # type: ignore[attr-defined]
                self.state,
                self.jacobian[:, start:end].view(-1, *parameter.shape),
                self._alone[start:end].view(parameter.shape),
                adds=segment.tasks is not None,
            )
            if self._low is not None:
                parameter.low = self._low[start:end].view(parameter.shape)  # type: ignore[attr-defined]
            start = end
        for segment in self.heads:
            start = 0
            for parameter in segment.parameters:
                end = start + parameter.numel()
                parameter.grad = segment.update[start:end].view(parameter.shape)
                start = end

    def _dense(self) -> Iterator[tuple[Segment, nn.Parameter]]:
        """The shared parameters but the word embeddings, in the order of J's columns."""
        for segment in self.shared:
            for parameter in segment.parameters:
                if parameter is not self._word:
                    yield segment, parameter

    @property
    def segments(self) -> list[Segment]:
        return [*self.shared, *self.heads]

    def freeze(self, names: Iterable[str]) -> None:
        """Freeze exactly these segments.  What is frozen gets no gradient at all, so that neither
        weight decay nor momentum moves it."""
        names = set(names)
        for segment in self.segments:
            segment.frozen = segment.name in names
            for parameter in segment.parameters:
                parameter.requires_grad_(not segment.frozen)
        self.jacobian.zero_()  # nothing writes the rows of what is frozen

    @property
    def frozen(self) -> frozenset[str]:
        """The names of the frozen segments."""
        return frozenset(segment.name for segment in self.segments if segment.frozen)

    @property
    def any_shared_trains(self) -> bool:
        return not all(segment.frozen for segment in self.shared)

    def refresh(self) -> None:
        """Bring the copies in the computation's precision up to date with the values."""
        if self._low is not None:
            self._low.copy_(self._values)

    def begin_step(
        self, rows: int, tasks: Sequence[str], words: Tensor, *, adding: bool = False
    ) -> None:
        """Get ready for the backward of a step.

        Args:
            rows: how many task gradients are kept apart, 1 for none.
            tasks: those drawn.
            words: int64 (U,), the distinct words of the step.
            adding: backward runs through the shared parameters more than once.
        """
        self.refresh()
        self.state.alone, self.state.adding = rows == 1, adding
        drawn = set(tasks)
        self._idle = {s.name for s in self.segments if s.tasks is not None and not s.tasks & drawn}
        self._head_update.zero_()
        if not self.any_shared_trains:
            return
        for _, parameter in self._dense():
            found = rows_of(parameter)
            if found is not None and found.adding:
                for row in range(rows):
                    found[row].zero_()
        if not self._word.requires_grad:
            self.state.words = None
            return
        width = self._word.shape[1]
        self.state.words = self._update.new_zeros(rows, len(words), width)

    def end_step(self, words: Tensor) -> None:
        """Forget the update of the word embeddings; the next step has other words."""
        if self.state.words is not None:
            self._word_update.index_fill_(0, words, 0.0)
            self.state.words = None

    @property
    def _word_update(self) -> Tensor:
        return self._update[: self._word.numel()].view_as(self._word)

    def gramian(self, rows: int) -> Tensor:
        """G = J J^T of the first rows, (K, K)."""
        # One product of so flat a matrix is several times slower than reading it.
        chunks = self.jacobian[:rows].view(rows, -1, _CHUNK).transpose(0, 1)
        gramian = (chunks @ chunks.transpose(1, 2)).sum(0)
        if self.state.words is not None:
            words = self.state.words.transpose(0, 1)
            gramian += (words @ words.transpose(1, 2)).sum(0)
        return gramian

    def combine(self, weights: Tensor | None, words: Tensor) -> None:
        """Set the shared update to w^T J (to the only row without weights)."""
        if weights is not None:
            weights = weights.to(self._alone)
            rows = self.jacobian[: len(weights), : len(self._alone)]
            torch.mv(rows.T, weights, out=self._alone)
        if self.state.words is not None:
            found = self.state.words
            update = found[0] if weights is None else torch.tensordot(weights, found, 1)
            # Adding: `words` may end in repetitions, whose gradient is zero.
            self._word_update.index_add_(0, words, update)
        for segment in self.segments:
            moves = not segment.frozen and segment.name not in self._idle
            segment.values.grad = segment.update if moves else None


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


def _flatten(named: dict[str, list[nn.Parameter]]) -> tuple[list[Segment], Tensor, Tensor]:
    """Segments, and the values and updates of all of them end to end."""
    everything = [parameter for parameters in named.values() for parameter in parameters]
    flat = torch.cat([parameter.detach().reshape(-1).float() for parameter in everything])
    updates = torch.zeros_like(flat)
    segments = []
    start = 0
    for name, parameters in named.items():
        end = start + sum(parameter.numel() for parameter in parameters)
        values, update = flat[start:end], updates[start:end]
        segments.append(Segment(name, values, update, parameters, _users(name)))
        for parameter in parameters:
            part = flat[start : start + parameter.numel()]
            parameter.data = part.view_as(parameter)
            start += parameter.numel()
    return segments, flat, updates
