"""Dropout: unbiased, seeded, and its gradient goes where the value went."""

from __future__ import annotations

import pytest
import torch

from trainer.dropout import Dropout, dropout


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_scale_are_right(p: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    dropped = dropout(torch.ones(1003, 997, dtype=dtype), p).double()
    assert (dropped == 0).double().mean().item() == pytest.approx(p, abs=0.002)
    assert dropped[dropped > 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=4e-3)
    # neighbours share a 64-bit draw: they must not share their fate
    together = (dropped[:, 1:] == 0) & (dropped[:, :-1] == 0)
    assert together.double().mean().item() == pytest.approx(p * p, abs=0.003)


def test_the_gradient_has_the_same_mask() -> None:
    x = torch.randn(50, 7, requires_grad=True)
    y = dropout(x, 0.4)
    y.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad == 0, y == 0)
    assert torch.allclose(x.grad[y != 0] * x.detach()[y != 0], y.detach()[y != 0])


def test_draws_follow_the_seed() -> None:
    x = torch.ones(99)
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(dropout(x, 0.5))
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])


def test_nothing_happens_at_zero_or_in_evaluation() -> None:
    x = torch.randn(5)
    assert dropout(x, 0.0) is x
    assert Dropout(0.5).eval()(x) is x
