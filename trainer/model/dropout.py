"""Dropout whose random numbers cost little on a CPU."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor, nn

#: Elements of a pool, all drawn at once.
POOL = 2**22
#: Masks begin at a multiple of this in the pool, so that they fill whole vector registers.
_STRIDE = 16
#: One mask element takes 16 random bits.
_LEVELS = 2**16


class Masks:
    """Provides dropout masks: tensors of 0 and 1 / (1 - p).

    On a CPU, torch draws one Bernoulli number per element from a serial generator.  That took an
    eighth of a bf16 step.  Here a pool of independent elements is drawn once per epoch, and a mask
    is a slice of it that begins at a random place.

    Elements of one mask are independent.  Elements of two masks are independent too, unless they
    are the same element of the pool, which has a probability of about `_STRIDE` / `POOL`.  p is
    rounded to a multiple of 2^-16.  The scale is that of the rounded p, in the mask's dtype.  On
    other devices every mask is drawn afresh.
    """

    def __init__(self) -> None:
        self._pools: dict[tuple[float, torch.dtype], Tensor] = {}
        self._places = random.Random()
        self._seeded = False

    def redraw(self) -> None:
        """Forget all pools.  The next ones follow the state that torch's generator then has."""
        self._pools.clear()
        self._seeded = False

    def take(self, shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
        """A mask of this shape with the dtype and device of `like`.  Do not write to it."""
        if like.device.type != "cpu":
            mask = torch.empty(shape, dtype=like.dtype, device=like.device)
            return mask.bernoulli_(1 - p).div_(1 - p)
        count = math.prod(shape)
        key = (p, like.dtype)
        pool = self._pools.get(key)
        if pool is None or len(pool) < 2 * count:
            pool = self._pools[key] = _draw(max(POOL, 2 * count), p, like.dtype)
        if not self._seeded:
            self._places.seed(int(torch.empty((), dtype=torch.int64).random_()))
            self._seeded = True
        start = self._places.randrange(0, len(pool) - count, _STRIDE)
        return pool[start : start + count].view(shape)


def _draw(count: int, p: float, dtype: torch.dtype) -> Tensor:
    """A pool of independent elements, (count,).  Each 64-bit number gives four of them."""
    numbers = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    dropped = round(p * _LEVELS)
    keep = numbers.view(torch.int16)[:count] >= dropped - _LEVELS // 2
    return keep.to(dtype).mul_(_LEVELS / (_LEVELS - dropped))


class _Masked(torch.autograd.Function):
    """x * mask.  It saves the mask alone for backward, where autograd would save x too."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


class Dropout(nn.Module):
    """In training, zeroes each element with probability p and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float, masks: Masks):
        super().__init__()
        self.p = p
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        return _Masked.apply(x, self.masks.take(tuple(x.shape), self.p, x))
