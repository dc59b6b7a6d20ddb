"""Where backward puts gradients: every task's into its own row, in one pass over all tasks.

Sentences do not interact, so one backward of the summed losses carries the gradient of every
task's loss at once: that of a weight is the product over the tokens of the task's span alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from trainer.model.packing import Packed, Span


@dataclass
class RowState:
    """What all parameters of a model share within a step.

    `alone`: the step has one row, which is the update itself.  `adding`: rows are added to
    (several passes a step, rows zeroed before); otherwise the one pass writes them.  `words`
    (K, U, hidden): gradients of the word embeddings of the step's distinct words, always added to.
    """

    alone: bool = True
    adding: bool = False
    closed: bool = False
    words: Tensor | None = None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Let backward leave all rows as they are (for gradients of something else)."""
        self.closed = True
        try:
            yield
        finally:
            self.closed = False


class Rows:
    """A parameter's gradient rows: `apart` (K, *shape), or `alone` (*shape).

    `sparse`: the word embeddings, whose gradients are in `RowState.words` instead.  `adds`: rows
    are always added to, because not every task of a row uses the parameter, or several do.
    """

    def __init__(
        self,
        state: RowState,
        apart: Tensor | None,
        alone: Tensor | None,
        *,
        sparse: bool = False,
        adds: bool = False,
    ):
        self.state, self._apart, self._alone = state, apart, alone
        self.sparse, self._adds = sparse, adds

    @property
    def adding(self) -> bool:
        return self._adds or self.state.adding

    def __getitem__(self, row: int) -> Tensor:
        if self.state.alone:
            assert self._alone is not None
            return self._alone
        assert self._apart is not None
        return self._apart[row]

    def put(self, row: int, value: Tensor) -> None:
        if self.adding:
            self[row].add_(value)
        else:
            self[row].copy_(value)

    def put_product(self, row: int, left: Tensor, right: Tensor, at: slice = slice(None)) -> None:
        """left @ right into the part `at` of the row, in place where the dtypes allow."""
        target = self[row][at].view(left.shape[0], right.shape[1])
        if left.dtype == target.dtype and self.adding:
            target.addmm_(left, right)
        elif left.dtype == target.dtype:
            torch.mm(left, right, out=target)
        elif self.adding:
            target.add_(left @ right)
        else:
            target.copy_(left @ right)


def rows_of(parameter: Tensor) -> Rows | None:
    """The rows that `FlatParameters` gave a parameter; without, autograd gets its gradient."""
    found: Rows | None = getattr(parameter, "rows", None)
    return found


def trains(parameter: Tensor) -> bool:
    """Whether backward is to compute this parameter's gradient."""
    rows = rows_of(parameter)
    return parameter.requires_grad and not (rows is not None and rows.state.closed)


def compute_weight(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """The parameter in the precision of the computation: a kept copy if there is one."""
    if parameter.dtype == dtype:
        return parameter.detach()
    kept: Tensor | None = getattr(parameter, "low", None)
    return parameter.detach().to(dtype) if kept is None else kept


def linear_gradients(
    weight: Tensor,
    bias: Tensor,
    gradient: Tensor,
    x: Tensor,
    spans: Sequence[Span],
    at: slice = slice(None),
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of x @ weight[at]^T + bias[at] for gradient (T, out) and x (T, in).

    Into the rows, span by span, or returned where the parameters have none.  None of it is
    computed for a parameter that is frozen (weight and bias are frozen together).
    """
    if not trains(weight):
        return None, None
    ones = gradient.new_ones(1, len(gradient))
    weight_rows, bias_rows = rows_of(weight), rows_of(bias)
    if weight_rows is None or bias_rows is None:
        return (gradient.t() @ x).to(weight.dtype), (ones @ gradient)[0].to(bias.dtype)
    for span in spans:
        part = gradient[span.start : span.end]
        weight_rows.put_product(span.row, part.t(), x[span.start : span.end], at)
        bias_rows.put_product(span.row, ones[:, : len(part)], part, at)
    return None, None


def norm_weights(norm: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias as the norm of x wants them: a CPU's takes fp32 beside bf16, a GPU's does
    not."""
    dtype = norm.weight.dtype if x.device.type == "cpu" else x.dtype
    return compute_weight(norm.weight, dtype), compute_weight(norm.bias, dtype)


def joined(
    first: tuple[Tensor | None, ...], second: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients of two parts of the same parameters, end to end."""
    return tuple(
        None if a is None or b is None else torch.cat([a, b])
        for a, b in zip(first, second, strict=True)
    )


def norm_gradients(
    norm: nn.LayerNorm,
    gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    spans: Sequence[Span],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Backward of a layer norm: the gradient of x (T, hidden), and those of weight and bias."""
    backward = torch.ops.aten.native_layer_norm_backward
    shape = list(norm.normalized_shape)
    wanted = trains(norm.weight)
    weight_rows, bias_rows = rows_of(norm.weight), rows_of(norm.bias)
    weight, bias = norm_weights(norm, x)
    apart = wanted and weight_rows is not None and bias_rows is not None
    joint = wanted and not apart
    of_x, of_weight, of_bias = backward(
        gradient, x, shape, mean, scale, weight, bias, [True, joint, joint]
    )
    if weight_rows is not None and bias_rows is not None and apart:
        for span in spans:
            part = slice(span.start, span.end)
            _, of_weight, of_bias = backward(
                gradient[part], x[part], shape, mean[part], scale[part], weight, bias,
                [False, True, True],
            )  # fmt: skip
            weight_rows.put(span.row, of_weight)
            bias_rows.put(span.row, of_bias)
        return of_x, None, None
    if joint:
        of_weight, of_bias = of_weight.to(norm.weight.dtype), of_bias.to(norm.bias.dtype)
    return of_x, of_weight, of_bias


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, module: nn.Linear, spans: Sequence[Span], weight: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.module, ctx.spans = module, spans
        return torch.addmm(bias, x, weight.t())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        weight, bias = ctx.module.weight, ctx.module.bias
        (x,) = ctx.saved_tensors
        of_x = gradient @ weight if ctx.needs_input_grad[0] else None
        return of_x, None, None, *linear_gradients(weight, bias, gradient, x, ctx.spans)


def linear(module: nn.Linear, x: Tensor, spans: Sequence[Span]) -> Tensor:
    """The module on x (n, in), fp32; its gradients go into the rows of the spans (over n)."""
    output: Tensor = _Linear.apply(x, module, spans, module.weight, module.bias)
    return output


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        module: nn.LayerNorm,
        spans: Sequence[Span],
        weight: Tensor,
        bias: Tensor,
    ) -> Tensor:
        y, mean, scale = torch.native_layer_norm(
            x, module.normalized_shape, weight, bias, module.eps
        )
        ctx.save_for_backward(x, mean, scale)
        ctx.module, ctx.spans = module, spans
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale = ctx.saved_tensors
        of_x, of_weight, of_bias = norm_gradients(
            ctx.module, gradient.contiguous(), x, mean, scale, ctx.spans
        )
        return of_x, None, None, of_weight, of_bias


def norm(module: nn.LayerNorm, x: Tensor, spans: Sequence[Span]) -> Tensor:
    """The module on x (T, hidden); its gradients go into the rows of the spans."""
    output: Tensor = _Norm.apply(x, module, spans, module.weight, module.bias)
    return output


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, indices: Tensor, packed: Packed) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.table, ctx.packed = table, packed
        return table.index_select(0, indices)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        (indices,) = ctx.saved_tensors
        rows = rows_of(ctx.table)
        if not trains(ctx.table):
            return None, None, None
        if rows is None:
            return torch.zeros_like(ctx.table).index_add_(0, indices, gradient), None, None
        if rows.sparse:
            assert rows.state.words is not None
            rows.state.words.flatten(0, 1).index_add_(0, ctx.packed.word_rows, gradient)
            return None, None, None
        for span in ctx.packed.spans:
            part = slice(span.start, span.end)
            if not rows.adding:
                rows[span.row].zero_()
            rows[span.row].index_add_(0, indices[part], gradient[part])
        return None, None, None


def lookup(table: Tensor, indices: Tensor, packed: Packed) -> Tensor:
    """Rows (T, hidden) of an embedding table, its gradient in the rows of the packed spans.

    Of a table whose rows are `sparse` (the words) only the distinct words of a step have a
    gradient; a dense one of the whole table would be written, mostly with zeros, for every task.
    """
    output: Tensor = _Lookup.apply(table, indices, packed)
    return output
