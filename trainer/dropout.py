"""Dropout whose random numbers cost little on a CPU."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_LEVELS = 2**16


class _MaskedScale(torch.autograd.Function):
    """x * mask, keeping the mask alone for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


def dropout(x: Tensor, p: float) -> Tensor:
    """Zero each element with probability p and scale the rest by 1 / (1 - p).

    On a CPU torch draws one Bernoulli number an element from a serial generator, which took an
    eighth of a training step.  Here each 64-bit draw serves four elements, at the price of p being
    rounded to a multiple of 2^-16 (the scale is that of the rounded p, so the mean is exact).
    Elsewhere this is torch's own dropout.
    """
    if p == 0.0:
        return x
    if x.device.type != "cpu":
        return F.dropout(x, p)
    count = x.numel()
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    dropped = round(p * _LEVELS)
    keep = draws.view(torch.int16)[:count] >= dropped - _LEVELS // 2
    mask = keep.to(x.dtype).mul_(_LEVELS / (_LEVELS - dropped))
    return _MaskedScale.apply(x, mask.view_as(x))


class Dropout(nn.Module):
    """`dropout` in training, nothing in evaluation."""

    def __init__(self, p: float):
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training else x
