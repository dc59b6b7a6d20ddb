"""Attention over packed tokens, against torch's own on one sentence at a time."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.model.attention import attend, attend_backward
from trainer.model.attention.grids import GRID_COST, grid_counts
from trainer.model.dropout import Masks
from trainer.model.packing import Packed, Part, pack

WIDTH = 8
#: Lengths of the sentences of each part: a part is a row of J and ends in fillers of its own.
LENGTHS = [[[1]], [[5, 5, 5]], [[2, 19, 7], [33, 4], [12]], [[3, 100, 90, 2], [8, 8, 64]]]
DTYPES = [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)]


def packed_of(lengths: list[list[int]]) -> Packed:
    parts = [
        Part(np.ones(sum(part), dtype=np.int64), np.array(part), np.array(part)) for part in lengths
    ]
    return pack(parts, range(len(parts)))


def a_source(packed: Packed, heads: int, first_only: bool, dtype: torch.dtype) -> Tensor:
    rows = packed.sentences + 2 * packed.tokens if first_only else 3 * packed.tokens
    return torch.randn(rows * heads * WIDTH).to(dtype)


def split(source: Tensor, packed: Packed, heads: int, first_only: bool) -> tuple[Tensor, ...]:
    """Q (of all tokens, or of the [CLS] ones), K and V, each (., heads, d)."""
    if not first_only:
        return source.view(-1, 3, heads, WIDTH).unbind(1)
    count = packed.sentences * heads * WIDTH
    query = source[:count].view(-1, heads, WIDTH)
    return query, *source[count:].view(-1, 2, heads, WIDTH).unbind(1)


def by_sentence(source: Tensor, packed: Packed, heads: int, first_only: bool) -> Tensor:
    """The outputs of all queries of real tokens, sentence after sentence."""
    query, key, value = split(source, packed, heads, first_only)
    found = []
    for number, (start, length) in enumerate(zip(packed.starts, packed.lengths, strict=True)):
        keys = slice(start, start + length)
        asks = slice(number, number + 1) if first_only else keys
        one = F.scaled_dot_product_attention(
            *(part.transpose(0, 1)[None] for part in (query[asks], key[keys], value[keys]))
        )
        found.append(one[0].transpose(0, 1).flatten(1))
    return torch.cat(found)


def real_tokens(packed: Packed) -> Tensor:
    return torch.cat(
        [torch.arange(s, s + n) for s, n in zip(packed.starts, packed.lengths, strict=True)]
    )


def is_filler(packed: Packed) -> Tensor:
    found = torch.ones(packed.tokens, dtype=torch.bool)
    found[real_tokens(packed)] = False
    return found


@pytest.mark.parametrize("first_only", [False, True], ids=["all", "first only"])
@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize(("dtype", "tolerance"), DTYPES, ids=["fp32", "bf16"])
def test_output_and_gradient_are_those_of_one_sentence_at_a_time(
    lengths: list[list[int]], heads: int, first_only: bool, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(len(lengths))
    packed = packed_of(lengths)
    source = a_source(packed, heads, first_only, dtype)
    output, saved = attend(source, packed, heads, Masks(), 0.0, first_only)
    asks = torch.arange(packed.sentences) if first_only else real_tokens(packed)
    leaf = source.float().requires_grad_()
    expected = by_sentence(leaf, packed, heads, first_only)
    assert output.dtype == dtype
    assert torch.allclose(output[asks].float(), expected, atol=tolerance, rtol=tolerance)

    # What nobody reads has no gradient: that of fillers is zero.
    gradient = torch.zeros_like(output)
    gradient[asks] = torch.randn(len(asks), heads * WIDTH).to(dtype)
    found = attend_backward(gradient, saved, packed, heads, first_only).flatten().float()
    (wanted,) = torch.autograd.grad(expected, leaf, gradient[asks].float())
    assert torch.allclose(found, wanted, atol=tolerance, rtol=tolerance)
    for part in split(found, packed, heads, first_only):
        if len(part) == packed.tokens:
            assert (part[is_filler(packed)] == 0).all()


def cost(lengths: np.ndarray, counts: tuple[int, ...], align: int) -> float:
    """Of grids that take so many of the falling lengths each."""
    total, rest = 0.0, list(lengths)
    for count in counts:
        longest = -(-rest[0] // align) * align
        total += count * longest**2 + GRID_COST
        rest = rest[count:]
    return total


def partitions(n: int) -> list[tuple[int, ...]]:
    """All ways to cut a row of n things into stretches."""
    found = []
    for cuts in itertools.product([False, True], repeat=n - 1):
        places = [0, *(place + 1 for place, cut in enumerate(cuts) if cut), n]
        found.append(tuple(np.diff(places).tolist()))
    return found


@pytest.mark.parametrize("align", [1, 4, 32])
@pytest.mark.parametrize("n", range(1, 8))
def test_no_other_grids_cost_less(n: int, align: int) -> None:
    generator = np.random.default_rng(n)
    for longest in (10, 60, 130):
        lengths = -np.sort(-generator.integers(1, longest, n))
        counts = tuple(grid_counts(lengths, align))
        assert sum(counts) == n
        least = min(cost(lengths, other, align) for other in partitions(n))
        assert cost(lengths, counts, align) == pytest.approx(least)


@pytest.mark.parametrize("first_only", [False, True], ids=["all", "first only"])
def test_dropped_weights_leave_the_mean_as_it_is(first_only: bool) -> None:
    torch.manual_seed(0)
    length, copies, heads = 9, 2000, 2  # many copies of one sentence, each with its own mask
    packed = packed_of([[length] * copies])
    query = torch.randn(1 if first_only else length, heads, WIDTH)
    key, value = torch.randn(2, length, heads, WIDTH)
    source = torch.zeros_like(a_source(packed, heads, first_only, torch.float32))
    for place, part in zip(
        split(source, packed, heads, first_only), (query, key, value), strict=True
    ):
        place[: copies * len(part)] = part.repeat(copies, 1, 1)
    outputs = [
        attend(source, packed, heads, Masks(), drop, first_only)[0][: copies * len(query)]
        for drop in (0.0, 0.3)
    ]
    plain, drawn = (output.view(copies, len(query), -1) for output in outputs)
    assert (drawn[0] - drawn[1]).abs().max() > 0.01
    error = drawn.std(0) / copies**0.5
    assert ((drawn.mean(0) - plain[0]).abs() < 5 * error).all()


@pytest.mark.parametrize("first_only", [False, True], ids=["all", "first only"])
def test_dropped_weights_are_the_same_in_output_and_gradient(first_only: bool) -> None:
    torch.manual_seed(0)
    packed, heads = packed_of([[3, 70, 5], [68, 20]]), 2  # in more than one grid
    source = a_source(packed, heads, first_only, torch.float32)
    output, saved = attend(source, packed, heads, Masks(), 0.4, first_only)
    _, (_, of_grids) = saved
    assert len(of_grids) > 1
    # Grids take the sentences in falling order of length, and all heads of one stand together.
    masks = [mask for _, _, of_grid in of_grids for mask in of_grid.split(heads)]
    order = sorted(range(packed.sentences), key=lambda number: -packed.lengths[number])
    leaf = source.clone().requires_grad_()
    query, key, value = split(leaf, packed, heads, first_only)
    expected = torch.zeros_like(output)
    for number, mask in zip(order, masks, strict=True):
        start, length = packed.starts[number], packed.lengths[number]
        keys = slice(start, start + length)
        asks = slice(number, number + 1) if first_only else keys
        scores = torch.einsum("qhd,khd->hqk", query[asks], key[keys]) / WIDTH**0.5
        weights = scores.softmax(-1) * mask[:, : scores.shape[1], :length]
        mixed = torch.einsum("hqk,khd->qhd", weights, value[keys])
        expected = expected.index_copy(0, torch.arange(packed.tokens)[asks], mixed.flatten(1))
    asks = torch.arange(packed.sentences) if first_only else real_tokens(packed)
    assert torch.allclose(output[asks], expected[asks], atol=1e-5)
    gradient = torch.zeros_like(output)
    gradient[asks] = torch.randn(len(asks), heads * WIDTH)
    found = attend_backward(gradient, saved, packed, heads, first_only).flatten()
    (wanted,) = torch.autograd.grad(expected, leaf, gradient)
    assert torch.allclose(found, wanted, atol=1e-5)
