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

from trainer.model.dropout import Masks
from trainer.model.packing import Packed

#: Grids are as long as a multiple of this.  Softmax of a bf16 row that does not fill its vector
#: registers takes four times as long, which is more than the padding costs.
GRID_ALIGNMENT = {torch.bfloat16: 32, torch.float32: 4}
#: What one more grid costs, in slots x keys: a handful of short calls.
GRID_COST = 3000.0


@dataclass(frozen=True)
class Grid:
    """`count` sentences of at most `longest` tokens with `queries` queries each.

    `rows` and `mixed_rows` are its stretches of the rows of all grids.  `bias` (count * heads, 1,
    longest) is 0 where a key counts and -inf where it is padding; None where no slot is.
    """

    count: int
    longest: int
    queries: int
    rows: slice
    mixed_rows: slice
    bias: Tensor | None


@dataclass(frozen=True)
class GridLayout:
    """How rows of one head's d values go into grids and back.

    `to_grids`: from the source's rows to, grid by grid, those of Q (count, heads, queries, d), K
    and V (count, heads, longest, d).  `from_grids`: the inverse.  `mixed_from_grids`: from the
    output's (count, heads, queries, d) of all grids to (queries, heads); `mixed_to_grids` the
    inverse, where a slot of padding takes a filler token's row.
    """

    grids: tuple[Grid, ...]
    to_grids: Tensor
    from_grids: Tensor
    mixed_from_grids: Tensor
    mixed_to_grids: Tensor


def grid_counts(lengths: np.ndarray, align: int) -> list[int]:
    """How many sentences each grid takes, for lengths in falling order.

    Least sum of slots x keys plus `GRID_COST` a grid, by dynamic programming over the distinct
    (rounded) lengths.
    """
    rounded = -(-lengths // align) * align
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


def _layout(packed: Packed, heads: int, like: Tensor, first_only: bool) -> GridLayout:
    key = (heads, like.dtype, first_only)
    if key not in packed.layouts:
        packed.layouts[key] = _make_layout(packed, heads, like, first_only)
    made: GridLayout = packed.layouts[key]
    return made


def _make_layout(packed: Packed, heads: int, like: Tensor, first_only: bool) -> GridLayout:
    order = np.argsort(-packed.lengths, kind="stable")
    starts, lengths = packed.starts[order], packed.lengths[order]
    head = np.arange(heads)
    # The source has (T, 3 heads) rows, or (n, heads) of queries and then (T, 2 heads).
    parts = 2 if first_only else 3
    before = packed.sentences * heads if first_only else 0
    source = before + packed.tokens * parts * heads
    from_grids = np.zeros(source, dtype=np.int64)
    queries_in_all = packed.sentences if first_only else packed.tokens
    mixed_from_grids = np.zeros(queries_in_all * heads, dtype=np.int64)
    filler = packed.fillers[-1][0]
    grids: list[Grid] = []
    to_grids, mixed_to_grids = [], []
    begin = row = mixed_row = 0
    align = GRID_ALIGNMENT.get(like.dtype, 8)
    for count in grid_counts(lengths, align):
        members = slice(begin, begin + count)
        longest = int(-(-lengths[begin] // align) * align)
        place = np.arange(longest)
        real = place[None, :] < lengths[members, None]
        token = starts[members, None] + np.where(real, place[None, :], 0)
        query = order[members, None] if first_only else token
        asks = np.ones_like(query, dtype=bool) if first_only else real

        def spread(of: np.ndarray, columns: int, part: int, start: int = 0) -> np.ndarray:
            """(count, heads, places): the rows of part `part` of the things in (count, places)."""
            return start + (of[:, None, :] * columns + part) * heads + head[None, :, None]

        sources = [
            spread(query, 1, 0) if first_only else spread(token, 3, 0),
            spread(token, parts, parts - 2, before),
            spread(token, parts, parts - 1, before),
        ]
        for rows, valid in zip(sources, (asks, real, real), strict=True):
            chosen = np.broadcast_to(valid[:, None, :], rows.shape)
            from_grids[rows[chosen]] = (row + np.arange(rows.size)).reshape(rows.shape)[chosen]
            to_grids.append(rows.ravel())
            row += rows.size
        out = spread(np.where(asks, query, filler), 1, 0)
        chosen = np.broadcast_to(asks[:, None, :], out.shape)
        places = (mixed_row + np.arange(out.size)).reshape(out.shape)
        mixed_from_grids[out[chosen]] = places[chosen]
        mixed_to_grids.append(out.ravel())
        mixed_row += out.size
        bias = None
        if not real.all():
            outside = np.where(real, 0.0, -np.inf).repeat(heads, axis=0)[:, None, :]
            bias = torch.from_numpy(outside).to(like)
        taken = sum(rows.size for rows in sources)
        grids.append(
            Grid(
                count, longest, query.shape[1],
                slice(row - taken, row), slice(mixed_row - out.size, mixed_row), bias,
            )
        )  # fmt: skip
        begin += count

    def tensor(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(like.device)

    return GridLayout(
        grids=tuple(grids),
        to_grids=tensor(np.concatenate(to_grids)),
        from_grids=tensor(from_grids),
        mixed_from_grids=tensor(mixed_from_grids),
        mixed_to_grids=tensor(np.concatenate(mixed_to_grids)),
    )


def _parts(rows: Tensor, grid: Grid, heads: int) -> tuple[Tensor, Tensor, Tensor]:
    """The grid's Q, K and V, (count * heads, queries or longest, d), as views."""
    batch, width = grid.count * heads, rows.shape[1]
    asks, keys = batch * grid.queries, batch * grid.longest
    query, key, value = rows[grid.rows].split([asks, keys, keys])
    shape = (batch, grid.longest, width)
    return query.view(batch, grid.queries, width), key.view(shape), value.view(shape)


def uses_varlen(device: torch.device, dtype: torch.dtype, width: int) -> bool:
    """Whether the variable-length kernels serve heads of this width here."""
    return (
        device.type == "cuda"
        and dtype == torch.bfloat16
        and width % 8 == 0
        and width <= 256
        and torch.cuda.get_device_capability(device) >= (8, 0)
    )


def attend(
    source: Tensor, packed: Packed, heads: int, masks: Masks, drop: float, first_only: bool = False
) -> tuple[Tensor, Any]:
    """Attention's output, (T, hidden), or (n, hidden) for the queries of [CLS] tokens alone.

    Args:
        source: Q, K and V side by side, flat: (T, 3, heads, d); with `first_only` Q (n, heads, d)
            and behind it K and V side by side (T, 2, heads, d).
        drop: the share of attention weights that is dropped.

    Also returns what `attend_backward` needs.  Rows of fillers are finite and without meaning.
    """
    width = _width(source, packed, heads, first_only)
    if uses_varlen(source.device, source.dtype, width):
        return _varlen(source, packed, heads, drop, first_only)
    return _grids(source, packed, heads, masks, drop, first_only)


def attend_backward(
    gradient: Tensor, saved: Any, packed: Packed, heads: int, first_only: bool = False
) -> Tensor:
    """Gradient of the source; zero for fillers if it was zero there."""
    if uses_varlen(gradient.device, gradient.dtype, gradient.shape[1] // heads):
        return _varlen_backward(gradient, saved, packed, first_only)
    return _grids_backward(gradient, saved, packed, heads, first_only)


def _grids(
    source: Tensor, packed: Packed, heads: int, masks: Masks, drop: float, first_only: bool
) -> tuple[Tensor, Any]:
    layout = _layout(packed, heads, source, first_only)
    width = _width(source, packed, heads, first_only)
    rows = source.view(-1, width).index_select(0, layout.to_grids)
    mixed = source.new_empty(len(layout.mixed_to_grids), width)
    unused = source.new_zeros(1, 1, 1)
    kept = []
    for grid in layout.grids:
        query, key, value = _parts(rows, grid, heads)
        bias, beta = (unused, 0.0) if grid.bias is None else (grid.bias, 1.0)
        scores = torch.baddbmm(bias, query, key.transpose(1, 2), beta=beta, alpha=width**-0.5)
        weights = dropped = torch.softmax(scores, dim=-1)
        mask = None
        if drop > 0:
            mask = masks.take(tuple(weights.shape), drop, weights)
            dropped = weights * mask
        torch.bmm(dropped, value, out=mixed[grid.mixed_rows].view(query.shape))
        kept.append((weights, dropped, mask))
    output = mixed.index_select(0, layout.mixed_from_grids).view(-1, heads * width)
    return output, (rows, kept)


def _grids_backward(
    gradient: Tensor, saved: Any, packed: Packed, heads: int, first_only: bool
) -> Tensor:
    layout = _layout(packed, heads, gradient, first_only)
    width = gradient.shape[1] // heads
    rows, kept = saved
    of_mixed = gradient.view(-1, width).index_select(0, layout.mixed_to_grids)
    of_rows = torch.empty_like(rows)
    scale = width**-0.5
    for grid, (weights, dropped, mask) in zip(layout.grids, kept, strict=True):
        query, key, value = _parts(rows, grid, heads)
        of_query, of_key, of_value = _parts(of_rows, grid, heads)
        of_out = of_mixed[grid.mixed_rows].view(query.shape)
        torch.bmm(dropped.transpose(1, 2), of_out, out=of_value)
        of_weights = torch.bmm(of_out, value.transpose(1, 2))
        if mask is not None:
            of_weights.mul_(mask)
        of_scores = torch._softmax_backward_data(of_weights, weights, -1, weights.dtype)
        torch.baddbmm(of_query, of_scores, key, beta=0.0, alpha=scale, out=of_query)
        torch.baddbmm(of_key, of_scores.transpose(1, 2), query, beta=0.0, alpha=scale, out=of_key)
    of_source = of_rows.index_select(0, layout.from_grids)
    before, parts = (packed.sentences * heads, 2) if first_only else (0, 3)
    for start, end in packed.fillers:
        of_source[before + start * parts * heads : before + end * parts * heads] = 0.0
    return of_source


def _width(source: Tensor, packed: Packed, heads: int, first_only: bool) -> int:
    """d, the width of a head."""
    rows = packed.tokens * 3 if not first_only else packed.sentences + packed.tokens * 2
    return source.numel() // (rows * heads)


def _varlen(
    source: Tensor, packed: Packed, heads: int, drop: float, first_only: bool
) -> tuple[Tensor, Any]:
    """Flash attention with the sentences' bounds; fillers are sentences of their own."""
    width = _width(source, packed, heads, first_only)
    if first_only:
        count = packed.sentences * heads * width
        query = source.view(-1)[:count].view(-1, heads, width)
        key, value = source.view(-1)[count:].view(-1, 2, heads, width).unbind(1)
    else:
        query, key, value = source.view(-1, 3, heads, width).unbind(1)
    bounds = packed.first_bounds if first_only else packed.bounds
    longest = packed.longest_bound
    asks = 1 if first_only else longest
    mixed, normalizer, seed, offset, _ = torch.ops.aten._flash_attention_forward(
        query, key, value, bounds, packed.bounds, asks, longest, drop, False, False
    )
    saved = (query, key, value, mixed, normalizer, seed, offset, asks, longest, drop)
    return mixed.reshape(-1, heads * width), saved


def _varlen_backward(gradient: Tensor, saved: Any, packed: Packed, first_only: bool) -> Tensor:
    query, key, value, mixed, normalizer, seed, offset, asks, longest, drop = saved
    bounds = packed.first_bounds if first_only else packed.bounds
    of_query, of_key, of_value = torch.ops.aten._flash_attention_backward(
        gradient.view_as(mixed), query, key, value, mixed, normalizer,
        bounds, packed.bounds, asks, longest, drop, False, seed, offset,
    )  # fmt: skip
    width = query.shape[-1]
    if not first_only:
        return torch.stack((of_query, of_key, of_value), dim=1).view(-1, width)
    pair = torch.stack((of_key, of_value), dim=1)
    return torch.cat([of_query.reshape(-1, width), pair.view(-1, width)])
