"""Attention over packed tokens: softmax(Q K^T / sqrt(d)) V within every sentence.

Forward and backward are written out because only here do tokens meet: everything else of a layer
never learns where sentences begin.  Two ways: grids of like-long sentences (any device and
precision), and the variable-length kernels of a GPU (bf16).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.dropout import Masks
from trainer.packed import Packed

#: Grids are as long as a multiple of this: softmax over whole vector registers.
GRID_ALIGNMENT = 16
#: What one more grid costs, in slots x keys: a handful of short calls.
GRID_COST = 4000.0


@dataclass(frozen=True)
class Grid:
    """`count` sentences of at most `longest` tokens, in the slots from `start` on.

    `bias` (count * heads, 1, longest) is 0 where a key counts and -inf where it is padding; None
    where no slot is.
    """

    start: int
    count: int
    longest: int
    bias: Tensor | None


@dataclass(frozen=True)
class GridLayout:
    """How packed rows of one head's d values go into grids and back; S slots, T tokens.

    `to_grids` (3 S heads,): from (T * 3 * heads, d) to each grid's (3, count, heads, longest, d).
    `from_grids` (3 T heads,): the inverse.  `mixed_from_grids` (T heads,) and `mixed_to_grids`
    (S heads,) are the same for attention's output; a slot of padding takes a filler token's row.
    """

    grids: tuple[Grid, ...]
    slots: int
    to_grids: Tensor
    from_grids: Tensor
    mixed_from_grids: Tensor
    mixed_to_grids: Tensor


def grid_lengths(lengths: np.ndarray) -> list[int]:
    """Where to cut sentences, sorted by falling length, into grids: the counts of each grid.

    Least sum of slots x keys plus `GRID_COST` a grid, by dynamic programming over the distinct
    (rounded) lengths.
    """
    rounded = -(-lengths // GRID_ALIGNMENT) * GRID_ALIGNMENT
    edges, counts = np.unique(-rounded, return_counts=True)
    longest = -edges
    behind = np.concatenate([[0], np.cumsum(counts)])
    best = [0.0] + [np.inf] * len(longest)
    cut = [0] * (len(longest) + 1)
    for end in range(1, len(longest) + 1):
        for begin in range(end):
            cost = best[begin] + GRID_COST
            cost += float(behind[end] - behind[begin]) * float(longest[begin]) ** 2
            if cost < best[end]:
                best[end], cut[end] = cost, begin
    found: list[int] = []
    end = len(longest)
    while end > 0:
        found.append(int(behind[end] - behind[cut[end]]))
        end = cut[end]
    return found[::-1]


def _layout(packed: Packed, heads: int, like: Tensor) -> GridLayout:
    key = (heads, like.dtype)
    if key not in packed.layouts:
        packed.layouts[key] = _make_layout(packed, heads, like)
    made: GridLayout = packed.layouts[key]
    return made


def _make_layout(packed: Packed, heads: int, like: Tensor) -> GridLayout:
    order = np.argsort(-packed.lengths, kind="stable")
    starts, lengths = packed.starts[order], packed.lengths[order]
    filler = packed.fillers[-1][0]
    head, three = np.arange(heads), np.arange(3)
    # Of each token: its place among the rows (3, count, heads, longest) of all grids, and the
    # distance there between two heads and between Q, K and V.
    first = np.zeros(packed.tokens, dtype=np.int64)
    first_mixed = np.zeros(packed.tokens, dtype=np.int64)
    head_step = np.zeros(packed.tokens, dtype=np.int64)
    three_step = np.zeros(packed.tokens, dtype=np.int64)
    grids, to_grids, mixed_to_grids = [], [], []
    begin = slot = 0
    for count in grid_lengths(lengths):
        members = slice(begin, begin + count)
        longest = int(-(-lengths[begin] // GRID_ALIGNMENT) * GRID_ALIGNMENT)
        place = np.arange(longest)
        real = place[None, :] < lengths[members, None]
        token = starts[members, None] + np.where(real, place[None, :], 0)
        to_grids.append(
            (
                token[None, :, None, :] * (3 * heads)
                + three[:, None, None, None] * heads
                + head[None, None, :, None]
            ).ravel()
        )
        out = np.where(real, token, filler)
        mixed_to_grids.append((out[:, None, :] * heads + head[None, :, None]).ravel())
        row = np.arange(count)[:, None] * (heads * longest) + place[None, :]
        tokens = token[real]
        first[tokens] = (3 * heads * slot + row)[real]
        first_mixed[tokens] = (heads * slot + row)[real]
        head_step[tokens] = longest
        three_step[tokens] = count * heads * longest
        bias = None
        if not real.all():
            outside = np.where(real, 0.0, -np.inf).repeat(heads, axis=0)[:, None, :]
            bias = torch.from_numpy(outside).to(like)
        grids.append(Grid(slot, count, longest, bias))
        begin += count
        slot += count * longest
    from_grids = (
        first[:, None, None]
        + three[None, :, None] * three_step[:, None, None]
        + head[None, None, :] * head_step[:, None, None]
    ).ravel()
    mixed_from_grids = (first_mixed[:, None] + head[None, :] * head_step[:, None]).ravel()

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(like.device)

    return GridLayout(
        grids=tuple(grids),
        slots=slot,
        to_grids=tensor(np.concatenate(to_grids)),
        from_grids=tensor(from_grids),
        mixed_from_grids=tensor(mixed_from_grids),
        mixed_to_grids=tensor(np.concatenate(mixed_to_grids)),
    )


def attend(
    qkv: Tensor, packed: Packed, heads: int, masks: Masks, drop: float
) -> tuple[Tensor, Any]:
    """Attention's output (T, hidden) for Q, K and V side by side (T, 3 * hidden).

    Also returns what `attend_backward` needs.  Rows of fillers are finite and without meaning.
    """
    if qkv.is_cuda and qkv.dtype == torch.bfloat16:
        return _varlen(qkv, packed, heads, drop)
    return _grids(qkv, packed, heads, masks, drop)


def attend_backward(gradient: Tensor, saved: Any, packed: Packed, heads: int) -> Tensor:
    """Gradient (T, 3 * hidden) of Q, K and V; zero for fillers if it was zero there."""
    if gradient.is_cuda and gradient.dtype == torch.bfloat16:
        return _varlen_backward(gradient, saved, packed, heads)
    return _grids_backward(gradient, saved, packed, heads)


def _grids(
    qkv: Tensor, packed: Packed, heads: int, masks: Masks, drop: float
) -> tuple[Tensor, Any]:
    layout = _layout(packed, heads, qkv)
    width = qkv.shape[1] // (3 * heads)
    rows = qkv.view(-1, width).index_select(0, layout.to_grids)
    mixed = qkv.new_empty(layout.slots * heads, width)
    unused = qkv.new_zeros(1, 1, 1)
    kept = []
    for grid in layout.grids:
        query, key, value = _of_grid(rows, grid, 3 * heads).view(
            3, grid.count * heads, grid.longest, width
        )
        biased = grid.bias is not None
        scores = torch.baddbmm(
            grid.bias if biased else unused,
            query,
            key.transpose(1, 2),
            beta=1.0 if biased else 0.0,
            alpha=width**-0.5,
        )
        weights = dropped = torch.softmax(scores, dim=-1)
        mask = None
        if drop > 0:
            mask = masks.take(tuple(weights.shape), drop, weights)
            dropped = weights * mask
        out = _of_grid(mixed, grid, heads).view(grid.count * heads, grid.longest, width)
        torch.bmm(dropped, value, out=out)
        kept.append((weights, dropped, mask))
    packed_again = mixed.index_select(0, layout.mixed_from_grids).view(qkv.shape[0], -1)
    return packed_again, (rows, kept)


def _grids_backward(gradient: Tensor, saved: Any, packed: Packed, heads: int) -> Tensor:
    layout = _layout(packed, heads, gradient)
    width = gradient.shape[1] // heads
    rows, kept = saved
    of_mixed = gradient.view(-1, width).index_select(0, layout.mixed_to_grids)
    of_rows = torch.empty_like(rows)
    scale = width**-0.5
    for grid, (weights, dropped, mask) in zip(layout.grids, kept, strict=True):
        shape = (3, grid.count * heads, grid.longest, width)
        query, key, value = _of_grid(rows, grid, 3 * heads).view(shape)
        of_query, of_key, of_value = _of_grid(of_rows, grid, 3 * heads).view(shape)
        of_out = _of_grid(of_mixed, grid, heads).view(shape[1:])
        torch.bmm(dropped.transpose(1, 2), of_out, out=of_value)
        of_weights = torch.bmm(of_out, value.transpose(1, 2))
        if mask is not None:
            of_weights.mul_(mask)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        torch.baddbmm(of_query, of_scores, key, beta=0.0, alpha=scale, out=of_query)
        torch.baddbmm(of_key, of_scores.transpose(1, 2), query, beta=0.0, alpha=scale, out=of_key)
    of_qkv = of_rows.index_select(0, layout.from_grids).view(gradient.shape[0], -1)
    for start, end in packed.fillers:
        of_qkv[start:end] = 0.0
    return of_qkv


def _of_grid(rows: Tensor, grid: Grid, per_slot: int) -> Tensor:
    """The grid's stretch of (S * per_slot, d)."""
    end = grid.start + grid.count * grid.longest
    return rows[grid.start * per_slot : end * per_slot]


def _varlen(qkv: Tensor, packed: Packed, heads: int, drop: float) -> tuple[Tensor, Any]:
    """Flash attention with the sentences' bounds; fillers are sentences of their own."""
    query, key, value = qkv.view(qkv.shape[0], 3, heads, -1).unbind(1)
    longest = _varlen_longest(packed)
    mixed, normalizer, seed, offset, _ = torch.ops.aten._flash_attention_forward(
        query, key, value, packed.bounds, packed.bounds, longest, longest, drop, False, False
    )
    return mixed.reshape(qkv.shape[0], -1), (
        query,
        key,
        value,
        mixed,
        normalizer,
        seed,
        offset,
        drop,
    )


def _varlen_backward(gradient: Tensor, saved: Any, packed: Packed, heads: int) -> Tensor:
    query, key, value, mixed, normalizer, seed, offset, drop = saved
    longest = _varlen_longest(packed)
    parts = torch.ops.aten._flash_attention_backward(
        gradient.view_as(mixed), query, key, value, mixed, normalizer,
        packed.bounds, packed.bounds, longest, longest, drop, False, seed, offset,
    )  # fmt: skip
    return torch.stack(parts, dim=1).view(gradient.shape[0], -1)


def _varlen_longest(packed: Packed) -> int:
    """An upper bound, coarse so that a recorded graph serves many batches."""
    longest = max(packed.longest, max(end - start for start, end in packed.fillers))
    return -(-longest // 128) * 128
