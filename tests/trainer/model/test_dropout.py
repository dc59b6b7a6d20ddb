"""Dropout: unbiased, seeded, and its gradient goes where the value went."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from trainer.model.dropout import POOL, Dropout, Masks

LIKE = torch.empty(0)


def take(masks: Masks, count: int, p: float = 0.5) -> Tensor:
    return masks.take((count,), p, LIKE)


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_scale_are_right(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    mask = Masks().take((1003, 997), p, torch.empty(0, dtype=dtype))
    assert mask.shape == (1003, 997) and mask.dtype == dtype
    dropped = mask == 0
    assert dropped.double().mean().item() == pytest.approx(p, abs=0.003)
    scales = mask[~dropped].double().unique().tolist()
    assert scales == pytest.approx([1 / (1 - p)], rel=torch.finfo(dtype).eps + 1e-4)
    # neighbours share a 64-bit draw: they must not share their fate
    for distance in (1, 2, 3, 4):
        together = dropped[:, distance:] & dropped[:, :-distance]
        assert together.double().mean().item() == pytest.approx(p * p, abs=0.003)


def test_the_gradient_has_the_same_mask() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    y = Dropout(0.4, Masks())(x)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)
    assert torch.allclose(x.grad[y != 0] * x.detach()[y != 0], y.detach()[y != 0])


def test_masks_follow_the_seed() -> None:
    masks, sequences = Masks(), []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.redraw()
        sequences.append(torch.stack([take(masks, 99) for _ in range(4)]))
    assert torch.equal(sequences[0], sequences[1])
    assert not torch.equal(sequences[0], sequences[2])


def test_one_mask_says_nothing_about_the_next() -> None:
    torch.manual_seed(0)
    masks, p, size, pairs = Masks(), 0.3, 1000, 300
    shares = []
    for _ in range(pairs):
        one, other = take(masks, size, p) == 0, take(masks, size, p) == 0
        assert not torch.equal(one, other)
        shares.append((one & other).double().mean())
    assert torch.stack(shares).mean().item() == pytest.approx(p * p, abs=0.003)


def test_a_mask_may_be_larger_than_the_pool() -> None:
    torch.manual_seed(0)
    masks = Masks()
    first, large, last = take(masks, 10), take(masks, POOL + 5), take(masks, 10)
    assert (len(first), len(large), len(last)) == (10, POOL + 5, 10)
    assert (large == 0).double().mean().item() == pytest.approx(0.5, abs=0.003)
    start, end = large[: POOL // 2], large[-(POOL // 2) :]
    assert (start == end).double().mean().item() == pytest.approx(0.5, abs=0.003)  # no repetition


def test_nothing_happens_at_zero_or_in_evaluation() -> None:
    x = torch.randn(5)
    assert Dropout(0.0, Masks())(x) is x
    assert Dropout(0.5, Masks()).eval()(x) is x


def test_a_copy_goes_its_own_way() -> None:
    torch.manual_seed(0)
    masks = Masks()
    take(masks, 99)
    twin, copied = copy.deepcopy(masks), copy.deepcopy(masks)
    take(copied, 99)
    copied.redraw()
    take(copied, 99)
    for _ in range(3):
        assert torch.equal(take(masks, 99), take(twin, 99))
