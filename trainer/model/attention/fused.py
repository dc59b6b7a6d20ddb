"""Attention by a GPU's kernels for sentences of any lengths, laid end to end.

They take the bounds of the sentences from the device, so that nothing about a batch is computed on
the host.  Fillers are sentences of their own.

Shapes: T tokens, n sentences, h heads of width d, H = h d hidden.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from trainer.model.attention.grids import head_width
from trainer.model.dropout import Masks
from trainer.model.packing import Packed


@dataclass(frozen=True)
class Sentences:
    """Q (R, h, d), K and V (T, h, d), and where the sentences lie in them.

    R is n where only [CLS] tokens have a query, otherwise T.
    """

    query: Tensor
    key: Tensor
    value: Tensor
    #: int32 (m + 1,): the bounds of the sentences over the rows of Q, and over those of K and V.
    query_bounds: Tensor
    bounds: Tensor
    #: At most so many queries and keys has a sentence.
    queries: int
    keys: int


def _sentences(source: Tensor, packed: Packed, heads: int, first_only: bool) -> Sentences:
    width = head_width(source, packed, heads, first_only)
    longest = packed.longest_bound
    if first_only:
        count = packed.sentences * heads * width
        query = source.view(-1)[:count].view(-1, heads, width)  # (n, h, d)
        key, value = source.view(-1)[count:].view(-1, 2, heads, width).unbind(1)  # (T, h, d)
        return Sentences(query, key, value, packed.first_bounds, packed.bounds, 1, longest)
    query, key, value = source.view(-1, 3, heads, width).unbind(1)  # (T, h, d)
    return Sentences(query, key, value, packed.bounds, packed.bounds, longest, longest)


def _side_by_side(
    query: Tensor, key: Tensor, value: Tensor, packed: Packed, first_only: bool
) -> Tensor:
    """Gradients of Q (R, h, d), K and V (T, h, d) in the layout of the source."""
    width = query.shape[-1]
    if not first_only:
        return torch.stack((query, key, value), dim=1).view(-1, width)
    pair = torch.stack((key, value), dim=1)  # (T, 2, h, d)
    for start, end in packed.fillers:
        pair[start:end] = 0.0  # they have no query, and no kernel promises to write zeros then
    return torch.cat([query.reshape(-1, width), pair.view(-1, width)])


def flash_forward(
    source: Tensor, packed: Packed, heads: int, masks: Masks, drop: float, first_only: bool
) -> tuple[Tensor, Any]:
    """`trainer.model.attention.attend` by FlashAttention-2 (Dao 2023)."""
    of = _sentences(source, packed, heads, first_only)
    context, normalizer, seed, offset, _ = torch.ops.aten._flash_attention_forward(
        of.query, of.key, of.value, of.query_bounds, of.bounds, of.queries, of.keys, drop, False,
        False,
    )  # fmt: skip
    return context.reshape(len(context), -1), (of, context, normalizer, seed, offset, drop)


def flash_backward(
    gradient: Tensor, saved: Any, packed: Packed, heads: int, first_only: bool
) -> Tensor:
    """`trainer.model.attention.attend_backward` for what `flash_forward` saved."""
    of, context, normalizer, seed, offset, drop = saved
    query, key, value = torch.ops.aten._flash_attention_backward(
        gradient.view_as(context), of.query, of.key, of.value, context, normalizer,
        of.query_bounds, of.bounds, of.queries, of.keys, drop, False, seed, offset,
    )  # fmt: skip
    return _side_by_side(query, key, value, packed, first_only)


def memory_efficient_forward(
    source: Tensor, packed: Packed, heads: int, masks: Masks, drop: float, first_only: bool
) -> tuple[Tensor, Any]:
    """`trainer.model.attention.attend` by memory-efficient attention (Rabe and Staats 2021).

    Its kernels serve every GPU and every precision.  They want a batch of one.
    """
    of = _sentences(source, packed, heads, first_only)
    context, normalizer, seed, offset, _, _ = torch.ops.aten._efficient_attention_forward(
        of.query[None], of.key[None], of.value[None], None, of.query_bounds, of.bounds,
        of.queries, of.keys, drop, 0, True,
    )  # fmt: skip
    return context.reshape(context.shape[1], -1), (of, context, normalizer, seed, offset, drop)


def memory_efficient_backward(
    gradient: Tensor, saved: Any, packed: Packed, heads: int, first_only: bool
) -> Tensor:
    """`trainer.model.attention.attend_backward` for what `memory_efficient_forward` saved."""
    of, context, normalizer, seed, offset, drop = saved
    *gradients, _ = torch.ops.aten._efficient_attention_backward(
        gradient.view_as(context), of.query[None], of.key[None], of.value[None], None, context,
        of.query_bounds, of.bounds, of.queries, of.keys, normalizer, drop, seed, offset, 0, False,
    )  # fmt: skip
    query, key, value = (each[0] for each in gradients)
    return _side_by_side(query, key, value, packed, first_only)
