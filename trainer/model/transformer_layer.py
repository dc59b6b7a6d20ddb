"""One post-norm transformer layer on packed tokens, forward and backward written out.

Written out because autograd cannot do three things: compute every task's weight gradients in one
backward (`trainer.model.task_gradients`), write them where they belong, and reuse what is no longer
needed.  `test_encoder.py` holds it against transformers' layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.model.attention import attend, attend_backward
from trainer.model.dropout import Masks
from trainer.model.packing import Packed, Span
from trainer.model.task_gradients import (
    compute_weight,
    joined,
    linear_gradients,
    norm_gradients,
    norm_weights,
)


class Layer(nn.Module):
    """One post-norm transformer layer, (T, hidden) -> (T, hidden) in the dtype of its input.

    hidden' = norm(hidden + dropout(attention)), then norm(hidden' + dropout(feed-forward)); norms
    and softmax compute in fp32 inside whatever the dtype.
    """

    def __init__(
        self,
        hidden: int,
        heads: int,
        intermediate: int,
        norm_eps: float,
        dropout: float,
        attention_dropout: float,
        masks: Masks,
    ):
        super().__init__()
        self.heads = heads
        self.p = dropout
        self.attention_p = attention_dropout
        self.masks = masks
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.query, self.key_value = slice(0, hidden), slice(hidden, 3 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=norm_eps)
        self.intermediate = nn.Linear(hidden, intermediate)
        self.output = nn.Linear(intermediate, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=norm_eps)

    def forward(self, hidden: Tensor, packed: Packed, first_only: bool = False) -> Tensor:
        """With `first_only` the output is (n, hidden), that of the [CLS] tokens alone: the rest of
        a last layer would be computed for nobody."""
        parameters = list(self.parameters())
        grows = hidden.requires_grad or any(p.requires_grad for p in parameters)
        if torch.is_grad_enabled() and grows:
            output: Tensor = _Layer.apply(hidden, self, packed, first_only, *parameters)
            return output
        return _forward(self, hidden.detach(), packed, first_only)[0]


@dataclass
class _Normed:
    """x + dropout(y) and its norm, (T, hidden); `mask` None without dropout."""

    output: Tensor
    mask: Tensor | None
    sum: Tensor
    mean: Tensor
    scale: Tensor


@dataclass
class _Saved:
    """What backward needs; `(T, .)` in the layer's dtype, means and scales (T, 1) fp32.

    From `asking` on, the rows that have queries, it is (n, .) in a layer for [CLS] tokens alone.
    """

    x: Tensor
    asking: Tensor
    attention: Any
    mixed: Tensor
    middle: _Normed
    inner: Tensor
    activated: Tensor
    last: _Normed


def _apply(module: nn.Linear, x: Tensor, at: slice = slice(None)) -> Tensor:
    """x @ weight[at]^T + bias[at]."""
    weight = compute_weight(module.weight, x.dtype)[at]
    return torch.addmm(compute_weight(module.bias, x.dtype)[at], x, weight.t())


def _add_and_norm(layer: Layer, norm: nn.LayerNorm, x: Tensor, y: Tensor) -> _Normed:
    """norm(x + dropout(y)); y is overwritten."""
    mask = None
    if layer.training and layer.p > 0:
        mask = layer.masks.take(tuple(y.shape), layer.p, y)
        torch.addcmul(x, y, mask, out=y)
    else:
        y.add_(x)
    output, mean, scale = torch.native_layer_norm(
        y, norm.normalized_shape, *norm_weights(norm, y), norm.eps
    )
    return _Normed(output, mask, y, mean, scale)


def _forward(layer: Layer, x: Tensor, packed: Packed, first_only: bool) -> tuple[Tensor, _Saved]:
    drop = layer.attention_p if layer.training else 0.0
    if first_only:
        asking = x.index_select(0, packed.first)
        query, key_value = layer.query, layer.key_value
        source = torch.cat(
            [
                _apply(layer.query_key_value, asking, query).view(-1),
                _apply(layer.query_key_value, x, key_value).view(-1),
            ]
        )
    else:
        asking, source = x, _apply(layer.query_key_value, x)
    mixed, attention = attend(source, packed, layer.heads, layer.masks, drop, first_only)
    attended = _apply(layer.attention_output, mixed)
    middle = _add_and_norm(layer, layer.attention_norm, asking, attended)
    inner = _apply(layer.intermediate, middle.output)
    activated = F.gelu(inner)
    last = _add_and_norm(layer, layer.output_norm, middle.output, _apply(layer.output, activated))
    y, last.output = last.output, last.sum  # what autograd hands out must not be kept alive here
    return y, _Saved(x, asking, attention, mixed, middle, inner, activated, last)


class _Layer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, layer: Layer, packed: Packed, first_only: bool, *parameters: Tensor
    ) -> Tensor:
        ctx.layer, ctx.packed, ctx.first_only = layer, packed, first_only
        y, ctx.saved = _forward(layer, x, packed, first_only)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved
        del ctx.saved  # a second backward through the same graph is nobody's wish
        of_x, *of_parameters = _backward(
            ctx.layer, ctx.packed, ctx.first_only, saved, gradient, ctx.needs_input_grad[0]
        )
        return of_x, None, None, None, *of_parameters


def _norm_back(
    norm: nn.LayerNorm, gradient: Tensor, made: _Normed, spans: Sequence[Span]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return norm_gradients(norm, gradient, made.sum, made.mean, made.scale, spans)


def _masked(gradient: Tensor, mask: Tensor | None) -> Tensor:
    return gradient if mask is None else gradient * mask


def _back(
    module: nn.Linear, gradient: Tensor, residual: Tensor | None = None, at: slice = slice(None)
) -> Tensor:
    """Gradient of the module's input; added to the residual's in place."""
    weight = compute_weight(module.weight, gradient.dtype)[at]
    return gradient @ weight if residual is None else residual.addmm_(gradient, weight)


def _backward(
    layer: Layer,
    packed: Packed,
    first_only: bool,
    saved: _Saved,
    gradient: Tensor,
    needs_x: bool,
) -> tuple[Tensor | None, ...]:
    """Gradient of x, and of the parameters in their order where they have no rows."""
    spans = packed.sentence_spans if first_only else packed.spans

    of_sum, *output_norm = _norm_back(layer.output_norm, gradient.contiguous(), saved.last, spans)
    of_fed = _masked(of_sum, saved.last.mask)
    output = linear_gradients(*_both(layer.output), of_fed, saved.activated, spans)
    of_inner = _back(layer.output, of_fed)
    of_inner = torch.ops.aten.gelu_backward(of_inner, saved.inner)
    intermediate = linear_gradients(
        *_both(layer.intermediate), of_inner, saved.middle.output, spans
    )
    of_middle = _back(layer.intermediate, of_inner, of_sum)

    of_sum, *attention_norm = _norm_back(layer.attention_norm, of_middle, saved.middle, spans)
    of_attended = _masked(of_sum, saved.middle.mask)
    attention_output = linear_gradients(
        *_both(layer.attention_output), of_attended, saved.mixed, spans
    )
    of_mixed = _back(layer.attention_output, of_attended)
    of_source = attend_backward(of_mixed, saved.attention, packed, layer.heads, first_only)

    projection, both = layer.query_key_value, _both(layer.query_key_value)
    of_x: Tensor | None = None
    if first_only:
        hidden = saved.x.shape[1]
        of_query, of_key_value = of_source.view(-1).split(
            [saved.asking.numel(), 2 * saved.x.numel()]
        )
        of_query, of_key_value = of_query.view(-1, hidden), of_key_value.view(-1, 2 * hidden)
        query_key_value = joined(
            linear_gradients(*both, of_query, saved.asking, spans, layer.query),
            linear_gradients(*both, of_key_value, saved.x, packed.spans, layer.key_value),
        )
        if needs_x:
            of_x = _back(projection, of_key_value, None, layer.key_value)
            of_x.index_add_(0, packed.first, _back(projection, of_query, of_sum, layer.query))
    else:
        of_qkv = of_source.view(len(saved.x), -1)
        query_key_value = linear_gradients(*both, of_qkv, saved.x, spans)
        if needs_x:
            of_x = _back(projection, of_qkv, of_sum)
    return (
        of_x, *query_key_value, *attention_output, *attention_norm,
        *intermediate, *output, *output_norm,
    )  # fmt: skip


def _both(module: nn.Linear) -> tuple[Tensor, Tensor]:
    return module.weight, module.bias
