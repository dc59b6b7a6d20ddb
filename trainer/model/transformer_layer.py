"""One post-norm transformer layer on packed tokens, with forward and backward written out.

Autograd cannot do three things that this code does: compute every task's weight gradients in one
backward (trainer.model.task_gradients), write them where they belong, and reuse memory that is no
longer needed.  tests/trainer/model/test_encoder.py compares the layer with the one of transformers.

Shapes: T tokens, n sentences, H hidden, I intermediate.  In a layer for [CLS] tokens alone, R = n
rows have a query; otherwise R = T.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.model.attention import attend, attend_backward
from trainer.model.dropout import Masks
from trainer.model.encoder_shape import EncoderShape
from trainer.model.packing import Packed
from trainer.model.spans import Spans
from trainer.model.task_gradients import (
    compute_weight,
    linear_gradients,
    norm_gradients,
    norm_weights,
)


class Layer(nn.Module):
    """One post-norm transformer layer (Devlin et al. 2018), in the dtype of its input.

    x' = norm(x + dropout(attention(x))), then norm(x' + dropout(feed-forward(x'))).  Norms and
    softmax compute in fp32 internally, whatever the dtype.
    """

    def __init__(self, shape: EncoderShape, dropout: float, attention_dropout: float, masks: Masks):
        super().__init__()
        hidden = shape.hidden
        self.heads = shape.heads
        self.p = dropout
        self.attention_p = attention_dropout
        self.masks = masks
        self.query_key_value = nn.Linear(hidden, 3 * hidden)
        self.query, self.key_value = slice(0, hidden), slice(hidden, 3 * hidden)
        self.attention_output = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=shape.norm_eps)
        self.intermediate = nn.Linear(hidden, shape.intermediate)
        self.output = nn.Linear(shape.intermediate, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=shape.norm_eps)

    def forward(self, hidden: Tensor, packed: Packed, first_only: bool = False) -> Tensor:
        """(T, H) -> (T, H).

        With `first_only` the output is (n, H), that of the [CLS] tokens.  Nothing reads the other
        outputs of a last layer.
        """
        parameters = list(self.parameters())
        trains = hidden.requires_grad or any(p.requires_grad for p in parameters)
        if torch.is_grad_enabled() and trains:
            output: Tensor = _Layer.apply(hidden, self, packed, first_only, *parameters)
            return output
        return _forward(self, hidden.detach(), packed, first_only)[0]


@dataclass
class _Normed:
    """sum = x + dropout(y) and output = norm(sum), both (R, H); mean and scale (R, 1), fp32.

    `mask` is None without dropout.
    """

    output: Tensor
    mask: Tensor | None
    sum: Tensor
    mean: Tensor
    scale: Tensor


@dataclass
class _Saved:
    """What backward needs from forward."""

    x: Tensor  # (T, H)
    queried: Tensor  # (R, H), the rows of x that have a query
    attention: Any
    context: Tensor  # (R, H), what attention returned
    attended: _Normed  # (R, H)
    inner: Tensor  # (R, I)
    activated: Tensor  # (R, I)
    last: _Normed  # (R, H)


def _apply(module: nn.Linear, x: Tensor, at: slice = slice(None)) -> Tensor:
    """x @ weight[at]^T + bias[at]."""
    weight = compute_weight(module.weight, x.dtype)[at]
    return torch.addmm(compute_weight(module.bias, x.dtype)[at], x, weight.t())


def _add_and_norm(layer: Layer, norm: nn.LayerNorm, x: Tensor, y: Tensor) -> _Normed:
    """norm(x + dropout(y)) for x and y (R, H).  Overwrites y."""
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
    # Queries, keys and values.
    if first_only:
        queried = x.index_select(0, packed.first)  # (n, H)
        query = _apply(layer.query_key_value, queried, layer.query)  # (n, H)
        key_value = _apply(layer.query_key_value, x, layer.key_value)  # (T, 2 H)
        source = torch.cat([query.view(-1), key_value.view(-1)])
    else:
        queried, source = x, _apply(layer.query_key_value, x)  # (T, 3 H)

    # Attention.
    drop = layer.attention_p if layer.training else 0.0
    context, attention = attend(source, packed, layer.heads, layer.masks, drop, first_only)
    projected = _apply(layer.attention_output, context)  # (R, H)
    attended = _add_and_norm(layer, layer.attention_norm, queried, projected)

    # Feed-forward.
    inner = _apply(layer.intermediate, attended.output)  # (R, I)
    activated = F.gelu(inner)
    last = _add_and_norm(layer, layer.output_norm, attended.output, _apply(layer.output, activated))
    # Autograd owns the output.  Saving it too would keep it alive, and backward does not read it.
    y, last.output = last.output, last.sum
    return y, _Saved(x, queried, attention, context, attended, inner, activated, last)


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
        del ctx.saved  # frees the memory early: no graph is walked twice
        grad_x, *others = _backward(
            ctx.layer, ctx.packed, ctx.first_only, saved, gradient, ctx.needs_input_grad[0]
        )
        return grad_x, None, None, None, *others


def _norm_backward(
    norm: nn.LayerNorm, gradient: Tensor, normed: _Normed, spans: Spans
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Gradients of x (R, H) and y (R, H) of `_add_and_norm`, then of weight and bias."""
    grad_x, grad_weight, grad_bias = norm_gradients(
        norm, gradient, normed.sum, normed.mean, normed.scale, spans
    )
    grad_y = grad_x if normed.mask is None else grad_x * normed.mask
    return grad_x, grad_y, grad_weight, grad_bias


def _input_gradient(
    module: nn.Linear, gradient: Tensor, residual: Tensor | None = None, at: slice = slice(None)
) -> Tensor:
    """Gradient of the module's input.  Added in place to that of the residual, if there is one."""
    weight = compute_weight(module.weight, gradient.dtype)[at]
    return gradient @ weight if residual is None else residual.addmm_(gradient, weight)


def _backward(
    layer: Layer, packed: Packed, first_only: bool, saved: _Saved, gradient: Tensor, needs_x: bool
) -> tuple[Tensor | None, ...]:
    """Gradient of x (T, H), and those of the parameters in their order if they have no rows."""
    spans = packed.sentence_spans if first_only else packed.spans

    # Second norm and feed-forward.
    grad_attended, grad_fed, *output_norm = _norm_backward(
        layer.output_norm, gradient.contiguous(), saved.last, spans
    )  # (R, H), (R, H)
    output = linear_gradients(layer.output, grad_fed, saved.activated, spans)
    grad_inner = _input_gradient(layer.output, grad_fed)  # (R, I)
    grad_inner = torch.ops.aten.gelu_backward(grad_inner, saved.inner)
    intermediate = linear_gradients(layer.intermediate, grad_inner, saved.attended.output, spans)
    grad_attended = _input_gradient(layer.intermediate, grad_inner, grad_attended)

    # First norm and attention.
    grad_queried, grad_projected, *attention_norm = _norm_backward(
        layer.attention_norm, grad_attended, saved.attended, spans
    )  # (R, H), (R, H)
    attention_output = linear_gradients(
        layer.attention_output, grad_projected, saved.context, spans
    )
    grad_context = _input_gradient(layer.attention_output, grad_projected)  # (R, H)
    grad_source = attend_backward(grad_context, saved.attention, packed, layer.heads, first_only)

    # Queries, keys and values.
    projection = layer.query_key_value
    grad_x: Tensor | None = None
    if first_only:
        hidden = saved.x.shape[1]
        sizes = [saved.queried.numel(), 2 * saved.x.numel()]
        grad_query, grad_key_value = grad_source.view(-1).split(sizes)
        grad_query = grad_query.view(-1, hidden)  # (n, H)
        grad_key_value = grad_key_value.view(-1, 2 * hidden)  # (T, 2 H)
        query_key_value = _concatenated(
            linear_gradients(projection, grad_query, saved.queried, spans, layer.query),
            linear_gradients(projection, grad_key_value, saved.x, packed.spans, layer.key_value),
        )
        if needs_x:
            grad_x = _input_gradient(projection, grad_key_value, None, layer.key_value)
            of_first = _input_gradient(projection, grad_query, grad_queried, layer.query)  # (n, H)
            grad_x.index_add_(0, packed.first, of_first)
    else:
        grad_source = grad_source.view(len(saved.x), -1)  # (T, 3 H)
        query_key_value = linear_gradients(projection, grad_source, saved.x, spans)
        if needs_x:
            grad_x = _input_gradient(projection, grad_source, grad_queried)
    return (
        grad_x, *query_key_value, *attention_output, *attention_norm,
        *intermediate, *output, *output_norm,
    )  # fmt: skip


def _concatenated(
    query: tuple[Tensor | None, ...], key_value: tuple[Tensor | None, ...]
) -> tuple[Tensor | None, ...]:
    """Gradients of two parts of the same parameters, joined; None where the rows have them."""
    return tuple(
        None if one is None or other is None else torch.cat([one, other])
        for one, other in zip(query, key_value, strict=True)
    )
