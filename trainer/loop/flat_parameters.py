"""Parameters as one flat tensor per segment, task gradients as the rows of one matrix J.

The model's parameters are views into `values`.  Backward puts the gradients of task k into row k of
J (trainer.model.task_gradients).  Combining them is then one matrix-vector product, and the
optimizer handles a few long tensors instead of a hundred short ones.

Shapes: K tasks whose gradients are kept apart, P shared parameters without the word embeddings (in
J filled up with zeros to whole chunks), U distinct words of a step, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.model.heads import RELATED, MultitaskModel
from trainer.model.packing import send
from trainer.model.pooling import uses_pooler
from trainer.model.products import product_for
from trainer.model.task_gradients import StepGradients, TaskGradients, task_gradients_of

#: Columns of J that are multiplied at a time.  All their rows fit into a core's cache.
_CHUNK = 2**12


@dataclass
class Segment:
    """Parameters that are frozen or trained as a whole."""

    name: str
    #: (size,), the optimizer's tensor, and its gradient.
    values: Tensor
    update: Tensor
    parameters: list[nn.Parameter]
    #: The tasks that use it, None for all.  A step that draws none of them does not move it.
    tasks: frozenset[str] | None = None
    frozen: bool = False


class FlatParameters:
    """Moves a model's parameters into flat storage and gives backward the rows to write to.

    A step uses a few hundred of tens of thousands of word embeddings.  So the task gradients of the
    word embeddings are kept for the step's distinct words alone, and only their update is dense.

    Args:
        model: its parameters become views and keep their values.
        rows: K, the largest number of task gradients that are kept apart in one step.
        dtype: the precision of the computation.  If it is not fp32, every shared parameter except
            the word embeddings has a copy in it, which `begin_step` and `refresh` update.
    """

    def __init__(self, model: MultitaskModel, rows: int, dtype: torch.dtype = torch.float32):
        segments = _segments(model)
        self._word = model.encoder.embeddings.word.weight
        shared = {name: parts for name, parts in segments.items() if not name.startswith("head.")}
        heads = {name: parts for name, parts in segments.items() if name.startswith("head.")}
        self.shared, values, self._update = _flatten(shared, model)
        self.heads, _, self._head_update = _flatten(heads, model)
        self.step_gradients = StepGradients()
        # The word embeddings are the first parameters: `_segments` begins with the embeddings.
        words = self._word.numel()
        self._values, self._dense_update = values[words:], self._update[words:]  # (P,), (P,)
        self._low_precision = self._values.to(dtype) if dtype != values.dtype else None  # (P,)
        #: (K, P), empty if no gradients are kept apart.
        self.jacobian = values.new_zeros(
            rows if rows > 1 else 0, -(-len(self._values) // _CHUNK) * _CHUNK
        )
        #: Segments whose tasks are not in the step.
        self._idle: set[str] = set()
        self._connect_parameters()
        for factors in {dtype, values.dtype}:  # tried now: a step must not wait for it
            product_for(values.device.type, factors)

    def _connect_parameters(self) -> None:
        """Give every parameter the place of its gradients, and that of its low-precision copy."""
        self._word.task_gradients = TaskGradients(  # type: ignore[attr-defined]
            self.step_gradients, None, None, sparse=True
        )
        start = 0
        for segment, parameter in self._dense_parameters():
            end = start + parameter.numel()
            parameter.task_gradients = TaskGradients(  # type: ignore[attr-defined]
                self.step_gradients,
                self.jacobian[:, start:end].view(-1, *parameter.shape),
                self._dense_update[start:end].view(parameter.shape),
                accumulates=segment.tasks is not None,
            )
            if self._low_precision is not None:
                copy = self._low_precision[start:end].view(parameter.shape)
                parameter.low_precision = copy  # type: ignore[attr-defined]
            start = end
        for segment in self.heads:
            start = 0
            for parameter in segment.parameters:
                end = start + parameter.numel()
                parameter.grad = segment.update[start:end].view(parameter.shape)
                start = end

    def _dense_parameters(self) -> Iterator[tuple[Segment, nn.Parameter]]:
        """The shared parameters except the word embeddings, in the order of J's columns."""
        for segment in self.shared:
            for parameter in segment.parameters:
                if parameter is not self._word:
                    yield segment, parameter

    @property
    def segments(self) -> list[Segment]:
        return [*self.shared, *self.heads]

    def freeze(self, names: Iterable[str]) -> None:
        """Freeze exactly these segments.

        A frozen parameter gets no gradient at all, so that neither weight decay nor momentum moves
        it.
        """
        names = set(names)
        for segment in self.segments:
            segment.frozen = segment.name in names
            for parameter in segment.parameters:
                parameter.requires_grad_(not segment.frozen)
        self.jacobian.zero_()  # backward does not write to the columns of frozen parameters

    @property
    def frozen(self) -> frozenset[str]:
        """The names of the frozen segments."""
        return frozenset(segment.name for segment in self.segments if segment.frozen)

    @property
    def any_shared_trains(self) -> bool:
        return not all(segment.frozen for segment in self.shared)

    def refresh(self) -> None:
        """Copy the values into the precision of the computation."""
        if self._low_precision is not None:
            self._low_precision.copy_(self._values)

    def begin_step(
        self, rows: int, tasks: Sequence[str], words: Tensor, *, accumulates: bool = False
    ) -> None:
        """Prepare the backward of a step.

        Args:
            rows: how many task gradients are kept apart, 1 for none.
            tasks: the drawn tasks.
            words: int64 (U,), the distinct words of the step.
            accumulates: a backward meets a shared parameter several times for the same row.
        """
        self.refresh()
        step = self.step_gradients
        step.begin(rows, accumulates=accumulates)
        drawn = set(tasks)
        self._idle = {s.name for s in self.segments if s.tasks is not None and not s.tasks & drawn}
        self._head_update.zero_()
        if not self.any_shared_trains:
            return
        found = [task_gradients_of(parameter) for _, parameter in self._dense_parameters()]
        added_to = [each for each in found if each and (accumulates or each.accumulates)]
        if added_to:
            torch._foreach_zero_([each.between(0, rows - 1) for each in added_to])
        width = self._word.shape[1]
        trains = self._word.requires_grad
        step.words = (
            self._update.new_zeros(rows, len(words), width) if trains else None
        )  # (K, U, H)

    def end_step(self, words: Tensor) -> None:
        """Clear the update of the word embeddings, because the next step has other words."""
        if self.step_gradients.words is not None:
            self._word_update.index_fill_(0, words, 0.0)
            self.step_gradients.words = None

    @property
    def _word_update(self) -> Tensor:
        """(vocabulary, H)."""
        return self._update[: self._word.numel()].view_as(self._word)

    def gramian(self, rows: int) -> Tensor:
        """G = J J^T of the first K = `rows` rows, (K, K)."""
        # One product of so wide a matrix takes several times as long as reading it does.
        chunks = self.jacobian[:rows].view(rows, -1, _CHUNK).transpose(0, 1)  # (chunks, K, _CHUNK)
        gramian = (chunks @ chunks.transpose(1, 2)).sum(0)  # (K, K)
        if self.step_gradients.words is not None:
            words = self.step_gradients.words.transpose(0, 1)  # (U, K, H)
            gramian += (words @ words.transpose(1, 2)).sum(0)  # (K, K)
        return gramian

    def combine(self, weights: Tensor | None, words: Tensor) -> None:
        """Set the shared update to w^T J for weights w (K,), or to the only row if they are None.

        `words` (U,) are the distinct words of the step.
        """
        if weights is not None:
            weights = send(weights.to(self._dense_update.dtype), self._dense_update.device)
            rows = self.jacobian[: len(weights), : len(self._dense_update)]  # (K, P)
            torch.mv(rows.T, weights, out=self._dense_update)  # (P,)
        gradients = self.step_gradients.words  # (K, U, H)
        if gradients is not None:
            update = gradients[0] if weights is None else torch.tensordot(weights, gradients, 1)
            # Added, not copied: the last word may be repeated, with gradients of zero.
            self._word_update.index_add_(0, words, update)  # (U, H)
        for segment in self.segments:
            moves = not segment.frozen and segment.name not in self._idle
            segment.values.grad = segment.update if moves else None

    def updates(self) -> list[Tensor]:
        """The update of every segment that this step moves, (size,) each; after `combine`."""
        return [s.values.grad for s in self.segments if s.values.grad is not None]

    def clip(self, longest: float) -> None:
        """Scale the update down to the length `longest` if it is longer (Pascanu et al. 2013).

        Its length is that over all parameters which it moves.
        """
        moving = [segment.values for segment in self.segments if segment.values.grad is not None]
        length = nn.utils.get_total_norm(self.updates())
        # A length that is no number must not reach the words that this step leaves alone: nothing
        # would clear their update again.
        length = torch.where(torch.isfinite(length), length, 0.0)
        nn.utils.clip_grads_with_norm_(moving, longest, length)


def _segments(model: MultitaskModel) -> dict[str, list[nn.Parameter]]:
    """The parameters of each segment, in the order of the flat storage."""
    encoder = model.encoder
    modules: dict[str, nn.Module | None] = {"embeddings": encoder.embeddings}
    modules |= {f"layers.{index}": layer for index, layer in enumerate(encoder.layers)}
    modules["pooler"] = encoder.pooler
    modules |= {"shared_layer": model.shared_layer, "relational_layer": model.relational_layer}
    modules |= {f"head.{name}": head for name, head in model.heads.items()}
    return {name: list(module.parameters()) for name, module in modules.items() if module}


def _users(segment: str, model: MultitaskModel) -> frozenset[str] | None:
    """The tasks that use a segment, None for all."""
    if segment == "relational_layer":
        return frozenset(RELATED)
    if segment == "pooler":
        pooled = {name for name, spec in model.specs.items() if uses_pooler(spec.pooling)}
        return None if len(pooled) == len(model.specs) else frozenset(pooled)
    return frozenset([segment.removeprefix("head.")]) if segment.startswith("head.") else None


def _flatten(
    segments: dict[str, list[nn.Parameter]], model: MultitaskModel
) -> tuple[list[Segment], Tensor, Tensor]:
    """Segments, and the values and updates of all of them end to end."""
    everything = [parameter for parameters in segments.values() for parameter in parameters]
    values = torch.cat([parameter.detach().reshape(-1).float() for parameter in everything])
    updates = torch.zeros_like(values)
    flat = []
    start = 0
    for name, parameters in segments.items():
        end = start + sum(parameter.numel() for parameter in parameters)
        flat.append(
            Segment(name, values[start:end], updates[start:end], parameters, _users(name, model))
        )
        for parameter in parameters:
            part = values[start : start + parameter.numel()]
            parameter.data = part.view_as(parameter)
            start += parameter.numel()
    return flat, values, updates
