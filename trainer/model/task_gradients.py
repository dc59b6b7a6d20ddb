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
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from trainer.model.packing import Packed
from trainer.model.products import product_for
from trainer.model.spans import Spans


@dataclass
class StepGradients:
    """What the gradients of all parameters share within one step."""

    #: Whether the step has a single row, which then is the update itself.
    single_row: bool = True
    #: The rows to which backward adds.  The others it overwrites.
    begun: frozenset[int] = frozenset()
    #: Whether backward leaves the rows alone.
    paused: bool = False
    #: Short gradients and where they go, by whether they are added there.  They go together.
    waiting: dict[bool, list[tuple[Tensor, Tensor]]] = field(
        default_factory=lambda: {False: [], True: []}
    )
    #: (K, U, H), gradients of the embeddings of the step's distinct words.  Always added to.
    words: Tensor | None = None

    def begin(self, rows: int, *, accumulates: bool) -> None:
        """Begin a step that keeps so many rows apart.

        Args:
            accumulates: one backward meets a parameter several times for the same row.  The rows
                must be zero.
        """
        self.single_row = rows == 1
        self.begun = frozenset(range(rows)) if accumulates else frozenset()
        for pairs in self.waiting.values():  # of a step that failed
            pairs.clear()

    def end_pass(self, rows: Sequence[int]) -> None:
        """Write what waits, after a backward for these rows.  The step's next ones add to them."""
        for adds, pairs in self.waiting.items():
            if pairs:
                targets, gradients = map(list, zip(*pairs, strict=True))
                (torch._foreach_add_ if adds else torch._foreach_copy_)(targets, gradients)
                pairs.clear()
        self.begun |= {0} if self.single_row else frozenset(rows)

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
        self.sparse, self.accumulates = sparse, accumulates

    def adds_to(self, row: int) -> bool:
        """Whether backward adds to the row.  Otherwise it overwrites it."""
        return self.accumulates or row in self.step.begun

    def between(self, first: int, last: int) -> Tensor:
        """The rows `first` to `last`, (last - first + 1, *shape)."""
        if self.step.single_row:
            assert self._update is not None
            return self._update[None]
        assert self._rows is not None
        return self._rows[first : last + 1]

    def __getitem__(self, row: int) -> Tensor:
        return self.between(row, row)[0]

    def put(self, row: int, gradient: Tensor) -> None:
        """Add `gradient` (*shape) to the row, or overwrite the row with it, when the pass ends."""
        self.step.waiting[self.adds_to(row)].append((self[row], gradient))

    def put_product(self, row: int, left: Tensor, right: Tensor, at: slice = slice(None)) -> None:
        """Add left @ right to the part `at` of the row, or overwrite the part with it."""
        target = self[row][at].view(left.shape[0], right.shape[1])
        product_for(left.device.type, left.dtype).write(left, right, target, self.adds_to(row))

    def put_sums(self, spans: Spans, gradient: Tensor, at: slice = slice(None)) -> None:
        """The same with the sums of `gradient` (T, out) over each span, into the row of the span.

        The parameter is a vector.
        """
        sums, product = spans.sums(gradient), product_for(gradient.device.type, gradient.dtype)
        for run in spans.runs(self.adds_to):
            first, last = spans[run][0].row, spans[run][-1].row
            target = self.between(first, last)[:, at]  # (spans of the run, out)
            product.write(sums[run], gradient, target, self.adds_to(first))


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
    module: nn.Linear, gradient: Tensor, x: Tensor, spans: Spans, at: slice = slice(None)
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
    weight, bias = task_gradients_of(module.weight), task_gradients_of(module.bias)
    if weight is None or bias is None:
        grad_weight = (gradient.t() @ x).to(module.weight.dtype)  # (out, in)
        ones = gradient.new_ones(1, len(gradient))  # (1, T)
        return grad_weight, (ones @ gradient)[0].to(module.bias.dtype)
    bias.put_sums(spans, gradient, at)
    for span in spans:
        part = gradient[span.start : span.end]  # (tokens of the span, out)
        weight.put_product(span.row, part.t(), x[span.start : span.end], at)  # (out, in)
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
    spans: Spans,
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
        ctx: Any, x: Tensor, module: nn.Linear, spans: Spans, weight: Tensor, bias: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x)
        ctx.module, ctx.spans = module, spans
        return torch.addmm(bias, x, weight.t())  # (n, out)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (x,) = ctx.saved_tensors
        grad_x = gradient @ ctx.module.weight if ctx.needs_input_grad[0] else None  # (n, in)
        return grad_x, None, None, *linear_gradients(ctx.module, gradient, x, ctx.spans)


def linear(module: nn.Linear, x: Tensor, spans: Spans) -> Tensor:
    """Apply the module to x (n, in), fp32.  Its gradients go into the rows of the spans over n."""
    output: Tensor = _Linear.apply(x, module, spans, module.weight, module.bias)
    return output


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        module: nn.LayerNorm,
        spans: Spans,
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


def norm(module: nn.LayerNorm, x: Tensor, spans: Spans) -> Tensor:
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
            if not rows.adds_to(span.row):
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
