"""Dropout whose random numbers cost little on a CPU."""

from __future__ import annotations

import math
import random
from typing import Any

import torch
from torch import Tensor, nn

#: Mask elements that are drawn at a time.
POOL = 2**22
_LEVELS = 2**16
#: Masks begin at a multiple of this in the pool: whole vector registers.
_STRIDE = 16


class Masks:
    """Hands out dropout masks: tensors of 0 and 1 / (1 - p).

    On a CPU torch draws one Bernoulli number an element from a serial generator, which took an
    eighth of a bf16 step.  Here a pool of independent elements is drawn once an epoch, and a mask
    is the stretch of it that begins at a random place.  Elements of one mask are independent; an
    element of one mask and one of another are the same element of the pool with a chance of
    about `_STRIDE` in `POOL`, else independent.  p is rounded to a multiple of 2^-16; the scale is
    that of the rounded p in the mask's dtype.  On other devices every mask is drawn anew.
    """

    def __init__(self) -> None:
        self._pools: dict[tuple[float, torch.dtype], Tensor] = {}
        self._places = random.Random()
        self._drawn = False

    def redraw(self) -> None:
        """Forget all pools; the next ones follow torch's generator as it stands then."""
        self._pools.clear()
        self._drawn = False

    def take(self, shape: tuple[int, ...], p: float, like: Tensor) -> Tensor:
        """A mask of this shape with the dtype and device of `like`.  Not to be written to."""
        if like.device.type != "cpu":
            return (
                torch.empty(shape, dtype=like.dtype, device=like.device)
                .bernoulli_(1 - p)
                .div_(1 - p)
            )
        count = math.prod(shape)
        key = (p, like.dtype)
        pool = self._pools.get(key)
        if pool is None or len(pool) < 2 * count:
            pool = self._pools[key] = _draw(max(POOL, 2 * count), p, like.dtype)
        if not self._drawn:
            self._places.seed(int(torch.empty((), dtype=torch.int64).random_()))
            self._drawn = True
        start = self._places.randrange(0, len(pool) - count, _STRIDE)
        return pool[start : start + count].view(shape)


def _draw(count: int, p: float, dtype: torch.dtype) -> Tensor:
    """Independent elements; each 64-bit draw serves four of them."""
    draws = torch.empty((count + 3) // 4, dtype=torch.int64).random_(-(2**63), None)
    dropped = round(p * _LEVELS)
    keep = draws.view(torch.int16)[:count] >= dropped - _LEVELS // 2
    return keep.to(dtype).mul_(_LEVELS / (_LEVELS - dropped))


class _Masked(torch.autograd.Function):
    """x * mask, keeping the mask alone for backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return x * mask

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.saved_tensors[0], None


class Dropout(nn.Module):
    """Zero each element with probability p and scale the rest, in training; else nothing."""

    def __init__(self, p: float, masks: Masks):
        super().__init__()
        self.p = p
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0.0:
            return x
        return _Masked.apply(x, self.masks.take(tuple(x.shape), self.p, x))
