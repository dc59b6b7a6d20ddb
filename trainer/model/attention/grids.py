"""Attention on grids of sentences with similar lengths, on any device and in any precision.

Shapes: T tokens, n sentences, h heads of width d, H = h d hidden.  A grid holds c sentences of at
most L tokens with q queries each; q is 1 where only [CLS] tokens have a query, otherwise L.
A "row" is one head's d values of one token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.model.dropout import Masks
from trainer.model.packing import Packed, send

#: Grids are as long as a multiple of this.  Softmax of a bf16 row that does not fill its vector
#: registers takes four times as long, which costs more than the padding.
GRID_ALIGNMENT = {torch.bfloat16: 32, torch.float32: 4}
#: Cost of one more grid, in the unit queries x keys.  It stands for a few short kernel calls.
GRID_COST = 3000.0


@dataclass(frozen=True)
class Grid:
    """c = `count` sentences of at most L = `longest` tokens with q = `queries` queries each."""

    count: int
    longest: int
    queries: int
    #: Where its Q, K and V lie among the rows of all grids.
    rows: slice
    #: Where its output lies among the output rows of all grids.
    context_rows: slice
    #: (c h, 1, L), 0 for a key that counts and -inf for padding; None without padding.
    bias: Tensor | None


@dataclass(frozen=True)
class GridLayout:
    """How rows get into the grids and back: index tensors for `index_select`.

    `to_grids` selects source rows: for each grid those of Q (c, h, q, d), K and V (c, h, L, d).
    `from_grids` is its inverse.  `context_from_grids` selects from the output rows (c, h, q, d) of
    all grids those of the output (queries, h).  `context_to_grids` is its inverse, in which padding
    takes the row of a filler token.
    """

    grids: tuple[Grid, ...]
    to_grids: Tensor
    from_grids: Tensor
    context_from_grids: Tensor
    context_to_grids: Tensor


def grid_counts(lengths: np.ndarray, align: int) -> list[int]:
    """How many sentences each grid takes, for lengths (n,) in falling order.

    Minimises the sum of queries x keys, plus `GRID_COST` for each grid, by dynamic programming over
    the distinct lengths, rounded up to multiples of `align`.
    """
    rounded = -(-lengths // align) * align
    edges, counts = np.unique(-rounded, return_counts=True)
    longest = -edges
    sentences = np.concatenate([[0], np.cumsum(counts)])  # up to each distinct length
    best = [0.0] + [np.inf] * len(longest)
    cut = [0] * (len(longest) + 1)
    for end in range(1, len(longest) + 1):
        for begin in range(end):
            cost = best[begin] + GRID_COST
            cost += float(sentences[end] - sentences[begin]) * float(longest[begin]) ** 2
            if cost < best[end]:
                best[end], cut[end] = cost, begin
    grids: list[int] = []
    end = len(longest)
    while end > 0:
        grids.append(int(sentences[end] - sentences[cut[end]]))
        end = cut[end]
    return grids[::-1]


def _layout(packed: Packed, heads: int, like: Tensor, first_only: bool) -> GridLayout:
    """The layout of a batch, computed by the first layer that needs it."""
    key = (heads, like.dtype, first_only)
    if key not in packed.layouts:
        packed.layouts[key] = _new_layout(packed, heads, like, first_only)
    layout: GridLayout = packed.layouts[key]
    return layout


def _new_layout(packed: Packed, heads: int, like: Tensor, first_only: bool) -> GridLayout:
    order = np.argsort(-packed.lengths, kind="stable")
    starts, lengths = packed.starts[order], packed.lengths[order]
    head = np.arange(heads)
    align = GRID_ALIGNMENT.get(like.dtype, 8)
    filler = packed.fillers[-1][0]

    # The source has (T, 3 h) rows, or (n, h) rows of queries and then (T, 2 h) of keys and values.
    parts = 2 if first_only else 3
    key_offset = packed.sentences * heads if first_only else 0
    from_grids = np.zeros(key_offset + packed.tokens * parts * heads, dtype=np.int64)
    all_queries = packed.sentences if first_only else packed.tokens
    context_from_grids = np.zeros(all_queries * heads, dtype=np.int64)
    to_grids, context_to_grids = [], []

    def source_rows(of: np.ndarray, columns: int, part: int, offset: int = 0) -> np.ndarray:
        """Rows (c, h, .) of part `part` of the tokens or sentences `of` (c, .)."""
        return offset + (of[:, None, :] * columns + part) * heads + head[None, :, None]

    grids: list[Grid] = []
    begin = row = context_row = 0
    for count in grid_counts(lengths, align):
        # Which token stands at each place of the grid, and where there is none.
        members = slice(begin, begin + count)
        longest = int(-(-lengths[begin] // align) * align)
        place = np.arange(longest)
        real = place[None, :] < lengths[members, None]  # (c, L)
        token = starts[members, None] + np.where(real, place[None, :], 0)  # (c, L)
        query = order[members, None] if first_only else token  # (c, q)
        is_query = np.ones_like(query, dtype=bool) if first_only else real  # (c, q)

        # Q, K and V.
        sources = [
            source_rows(query, 1, 0) if first_only else source_rows(token, 3, 0),
            source_rows(token, parts, parts - 2, key_offset),
            source_rows(token, parts, parts - 1, key_offset),
        ]
        first_row = row
        for rows, valid in zip(sources, (is_query, real, real), strict=True):
            chosen = np.broadcast_to(valid[:, None, :], rows.shape)
            from_grids[rows[chosen]] = (row + np.arange(rows.size)).reshape(rows.shape)[chosen]
            to_grids.append(rows.ravel())
            row += rows.size

        # The output.
        out = source_rows(np.where(is_query, query, filler), 1, 0)  # (c, h, q)
        chosen = np.broadcast_to(is_query[:, None, :], out.shape)
        places = (context_row + np.arange(out.size)).reshape(out.shape)
        context_from_grids[out[chosen]] = places[chosen]
        context_to_grids.append(out.ravel())
        context_rows = slice(context_row, context_row + out.size)

        bias = None
        if not real.all():
            padding = np.where(real, 0.0, -np.inf).repeat(heads, axis=0)[:, None, :]  # (c h, 1, L)
            bias = send(torch.from_numpy(padding).to(like.dtype), like.device)
        queries = query.shape[1]
        grids.append(Grid(count, longest, queries, slice(first_row, row), context_rows, bias))
        context_row += out.size
        begin += count

    def tensor(array: np.ndarray) -> Tensor:
        return send(torch.from_numpy(array), like.device)

    return GridLayout(
        grids=tuple(grids),
        to_grids=tensor(np.concatenate(to_grids)),
        from_grids=tensor(from_grids),
        context_from_grids=tensor(context_from_grids),
        context_to_grids=tensor(np.concatenate(context_to_grids)),
    )


def _query_key_value(rows: Tensor, grid: Grid, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """The grid's Q (c h, q, d), K and V (c h, L, d), as views."""
    batch, width = grid.count * heads, rows.shape[1]
    queries, keys = batch * grid.queries, batch * grid.longest
    query, key, value = rows[grid.rows].split([queries, keys, keys])
    shape = (batch, grid.longest, width)
    return query.view(batch, grid.queries, width), key.view(shape), value.view(shape)


def head_width(source: Tensor, packed: Packed, heads: int, first_only: bool) -> int:
    """d, from the size of the source (`trainer.model.attention.attend`)."""
    rows = packed.sentences + packed.tokens * 2 if first_only else packed.tokens * 3
    return source.numel() // (rows * heads)


def forward(
    source: Tensor, packed: Packed, heads: int, masks: Masks, drop: float, first_only: bool
) -> tuple[Tensor, Any]:
    """`trainer.model.attention.attend` on grids."""
    layout = _layout(packed, heads, source, first_only)
    width = head_width(source, packed, heads, first_only)
    rows = source.view(-1, width).index_select(0, layout.to_grids)  # (rows of all grids, d)
    context = source.new_empty(len(layout.context_to_grids), width)
    no_bias = source.new_zeros(1, 1, 1)
    saved = []
    for grid in layout.grids:
        query, key, value = _query_key_value(rows, grid, heads)
        bias, beta = (no_bias, 0.0) if grid.bias is None else (grid.bias, 1.0)
        scores = torch.baddbmm(bias, query, key.transpose(1, 2), beta=beta, alpha=width**-0.5)
        weights = dropped = torch.softmax(scores, dim=-1)  # (c h, q, L)
        mask = None
        if drop > 0:
            mask = masks.take(tuple(weights.shape), drop, weights)
            dropped = weights * mask
        torch.bmm(dropped, value, out=context[grid.context_rows].view(query.shape))  # (c h, q, d)
        saved.append((weights, dropped, mask))
    output = context.index_select(0, layout.context_from_grids).view(-1, heads * width)
    return output, (rows, saved)


def backward(gradient: Tensor, saved: Any, packed: Packed, heads: int, first_only: bool) -> Tensor:
    """`trainer.model.attention.attend_backward` for what `forward` saved."""
    layout = _layout(packed, heads, gradient, first_only)
    width = gradient.shape[1] // heads
    rows, saved_grids = saved
    grad_context = gradient.view(-1, width).index_select(0, layout.context_to_grids)
    grad_rows = torch.empty_like(rows)  # (rows of all grids, d)
    scale = width**-0.5
    for grid, (weights, dropped, mask) in zip(layout.grids, saved_grids, strict=True):
        query, key, value = _query_key_value(rows, grid, heads)
        grad_query, grad_key, grad_value = _query_key_value(grad_rows, grid, heads)
        grad_out = grad_context[grid.context_rows].view(query.shape)  # (c h, q, d)
        torch.bmm(dropped.transpose(1, 2), grad_out, out=grad_value)  # (c h, L, d)
        grad_weights = torch.bmm(grad_out, value.transpose(1, 2))  # (c h, q, L)
        if mask is not None:
            grad_weights.mul_(mask)
        grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
        torch.baddbmm(grad_query, grad_scores, key, beta=0.0, alpha=scale, out=grad_query)
        torch.baddbmm(
            grad_key, grad_scores.transpose(1, 2), query, beta=0.0, alpha=scale, out=grad_key
        )
    grad_source = grad_rows.index_select(0, layout.from_grids)  # (rows of the source, d)
    key_offset, parts = (packed.sentences * heads, 2) if first_only else (0, 3)
    for start, end in packed.fillers:
        filler_rows = slice(key_offset + start * parts * heads, key_offset + end * parts * heads)
        grad_source[filler_rows] = 0.0
    return grad_source
