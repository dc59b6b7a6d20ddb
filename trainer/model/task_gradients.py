"""Where backward puts gradients: those of each task into a row of their own, in one pass.

Sentences do not interact.  So one backward of the summed losses carries the gradients of all tasks
at once, and a weight's gradient for one task is the product over the tokens of its span alone.
The rows together are J, the matrix of the task gradients (trainer.loop.flat_parameters).

Shapes: T tokens (or n sentences, where a function works on sentences), H hidden, K tasks whose
gradients are kept apart, U distinct words of the step.
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
class StepGradients:
    """What the gradients of all parameters share within one step."""

    #: Whether the step has a single row, which then is the update itself.
    single_row: bool = True
    #: Whether backward adds to the rows, because it passes through the model several times in this
    #: step.  The rows are zero before.  Otherwise its one pass overwrites them.
    accumulates: bool = False
    #: Whether backward leaves the rows alone.
    paused: bool = False
    #: (K, U, H), gradients of the embeddings of the step's distinct words.  Always added to.
    words: Tensor | None = None

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Compute gradients of something else: within this context backward writes to no row."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False


class TaskGradients:
    """The rows that backward writes for one parameter; index it with the number of a row.

    Args:
        step: what all parameters share.
        rows: (K, *shape), views into J; None for the word embeddings.
        update: (*shape), the view into the update; None for the word embeddings.
        sparse: the parameter is the word embeddings.  Their gradients are in `StepGradients.words`.
        accumulates: backward always adds to a row, because several tasks of the row use the
            parameter, or not every one does.
    """

    def __init__(
        self,
        step: StepGradients,
        rows: Tensor | None,
        update: Tensor | None,
        *,
        sparse: bool = False,
        accumulates: bool = False,
    ):
        self.step, self._rows, self._update = step, rows, update
        self.sparse, self._accumulates = sparse, accumulates

    @property
    def accumulates(self) -> bool:
        return self._accumulates or self.step.accumulates

    def __getitem__(self, row: int) -> Tensor:
        if self.step.single_row:
            assert self._update is not None
            return self._update
        assert self._rows is not None
        return self._rows[row]

    def put(self, row: int, gradient: Tensor) -> None:
        """Add `gradient` (*shape) to the row, or overwrite the row with it."""
        if self.accumulates:
            self[row].add_(gradient)
        else:
            self[row].copy_(gradient)

    def put_product(self, row: int, left: Tensor, right: Tensor, at: slice = slice(None)) -> None:
        """`put` left @ right into the part `at` of the row, in place where the dtypes allow."""
        target = self[row][at].view(left.shape[0], right.shape[1])
        if left.dtype == target.dtype and self.accumulates:
            target.addmm_(left, right)
        elif left.dtype == target.dtype:
            torch.mm(left, right, out=target)
        elif self.accumulates:
            target.add_(left @ right)
        else:
            target.copy_(left @ right)


def task_gradients_of(parameter: Tensor) -> TaskGradients | None:
    """What `FlatParameters` gave the parameter; None if its gradient goes to autograd."""
    gradients: TaskGradients | None = getattr(parameter, "task_gradients", None)
    return gradients


def needs_gradient(parameter: Tensor) -> bool:
    """Whether backward has to compute this parameter's gradient."""
    gradients = task_gradients_of(parameter)
    return parameter.requires_grad and not (gradients is not None and gradients.step.paused)


def compute_weight(parameter: Tensor, dtype: torch.dtype) -> Tensor:
    """The parameter in the precision of the computation.  Uses the stored copy if there is one."""
    if parameter.dtype == dtype:
        return parameter.detach()
    copy: Tensor | None = getattr(parameter, "low_precision", None)
    return parameter.detach().to(dtype) if copy is None else copy


def linear_gradients(
    module: nn.Linear, gradient: Tensor, x: Tensor, spans: Sequence[Span], at: slice = slice(None)
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of weight and bias of x @ weight[at]^T + bias[at].

    They go into the rows, span by span, and (None, None) is returned.  If the parameters have no
    rows, the gradients are returned instead.  Nothing is computed for frozen parameters; weight and
    bias are frozen together.

    Args:
        gradient: (T, out), that of the output.
        x: (T, in), the input.
        spans: which tokens belong to which row.
    """
    if not needs_gradient(module.weight):
        return None, None
    ones = gradient.new_ones(1, len(gradient))  # (1, T)
    weight, bias = task_gradients_of(module.weight), task_gradients_of(module.bias)
    if weight is None or bias is None:
        grad_weight = (gradient.t() @ x).to(module.weight.dtype)  # (out, in)
        return grad_weight, (ones @ gradient)[0].to(module.bias.dtype)
    for span in spans:
        part = gradient[span.start : span.end]  # (tokens of the span, out)
        weight.put_product(span.row, part.t(), x[span.start : span.end], at)  # (out, in)
        bias.put_product(span.row, ones[:, : len(part)], part, at)  # (1, out)
    return None, None


def norm_weights(norm: nn.LayerNorm, x: Tensor) -> tuple[Tensor, Tensor]:
    """Weight and bias, both (H,), in the dtype that the layer norm of x needs.

    A CPU's kernel takes fp32 parameters with a bf16 input, a GPU's does not.
    """
    dtype = norm.weight.dtype if x.device.type == "cpu" else x.dtype
    return compute_weight(norm.weight, dtype), compute_weight(norm.bias, dtype)


def norm_gradients(
    norm: nn.LayerNorm,
    gradient: Tensor,
    x: Tensor,
    mean: Tensor,
    scale: Tensor,
    spans: Sequence[Span],
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Backward of a layer norm: gradients of x (T, H), weight (H,) and bias (H,).

    Those of weight and bias go where `linear_gradients` puts them.

    Args:
        gradient: (T, H), that of the output.
        x: (T, H), the input.
        mean: (T, 1), from the forward pass.
        scale: (T, 1), 1 / standard deviation, from the forward pass.
        spans: which tokens belong to which row.
    """
    backward = torch.ops.aten.native_layer_norm_backward
    shape = list(norm.normalized_shape)
    weight, bias = norm_weights(norm, x)
    weight_rows, bias_rows = task_gradients_of(norm.weight), task_gradients_of(norm.bias)
    wanted = needs_gradient(norm.weight)
    without_rows = wanted and (weight_rows is None or bias_rows is None)
    grad_x, grad_weight, grad_bias = backward(
        gradient, x, shape, mean, scale, weight, bias, [True, without_rows, without_rows]
    )
    if without_rows:
        return grad_x, grad_weight.to(norm.weight.dtype), grad_bias.to(norm.bias.dtype)
    if wanted and weight_rows is not None and bias_rows is not None:
        for span in spans:
            part = slice(span.start, span.end)
            _, grad_weight, grad_bias = backward(
                gradient[part], x[part], shape, mean[part], scale[part], weight, bias,
                [False, True, True],
            )  # fmt: skip
            weight_rows.put(span.row, grad_weight)
            bias_rows.put(span.row, grad_bias)
    return grad_x, None, None


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, module: nn.Linear, spans: Sequence[Span], weight: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.module, ctx.spans = module, spans
        return torch.addmm(bias, x, weight.t())  # (n, out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        grad_x = gradient @ ctx.module.weight if ctx.needs_input_grad[0] else None  # (n, in)
        return grad_x, None, None, *linear_gradients(ctx.module, gradient, x, ctx.spans)


def linear(module: nn.Linear, x: Tensor, spans: Sequence[Span]) -> Tensor:
    """Apply the module to x (n, in), fp32.  Its gradients go into the rows of the spans over n."""
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
        )  # (T, H), (T, 1), (T, 1)
        ctx.save_for_backward(x, mean, scale)
        ctx.module, ctx.spans = module, spans
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, mean, scale = ctx.saved_tensors
        grad_x, *others = norm_gradients(
            ctx.module, gradient.contiguous(), x, mean, scale, ctx.spans
        )
        return grad_x, None, None, *others


def norm(module: nn.LayerNorm, x: Tensor, spans: Sequence[Span]) -> Tensor:
    """Apply the module to x (T, H).  Its gradients go into the rows of the spans."""
    output: Tensor = _Norm.apply(x, module, spans, module.weight, module.bias)
    return output


class _Lookup(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, table: Tensor, indices: Tensor, packed: Packed) -> Tensor:
        ctx.save_for_backward(indices)
        ctx.table, ctx.packed = table, packed
        return table.index_select(0, indices)  # (T, H)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, None, None]:
        (indices,) = ctx.saved_tensors
        rows = task_gradients_of(ctx.table)
        if not needs_gradient(ctx.table):
            return None, None, None
        if rows is None:
            return torch.zeros_like(ctx.table).index_add_(0, indices, gradient), None, None
        if rows.sparse:
            words = rows.step.words  # (K, U, H)
            assert words is not None
            words.flatten(0, 1).index_add_(0, ctx.packed.word_rows, gradient)
            return None, None, None
        for span in ctx.packed.spans:
            part = slice(span.start, span.end)
            if not rows.accumulates:
                rows[span.row].zero_()
            rows[span.row].index_add_(0, indices[part], gradient[part])
        return None, None, None


def lookup(table: Tensor, indices: Tensor, packed: Packed) -> Tensor:
    """Rows (T, H) of an embedding table.  Its gradient goes into the rows of the packed spans.

    Where the table is `sparse` (the words), only the distinct words of the step have a gradient.
    A gradient of the whole table would be written for every task, and would be mostly zeros.
    """
    output: Tensor = _Lookup.apply(table, indices, packed)
    return output
