"""Attention over packed tokens: softmax(Q K^T / sqrt(d)) V within every sentence.

Only attention relates tokens to each other.  Everything else in a layer works token by token and
needs no sentence bounds.  Several kernels compute it (`trainer.model.attention.kernels`), each with
its backward.

Shapes: T tokens, n sentences, h heads of width d, H = h d hidden.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from trainer.model.attention.grids import head_width
from trainer.model.attention.kernels import kernel_for
from trainer.model.dropout import Masks
from trainer.model.packing import Packed

__all__ = ["attend", "attend_backward", "kernel_for"]


def attend(
    source: Tensor, packed: Packed, heads: int, masks: Masks, drop: float, first_only: bool = False
) -> tuple[Tensor, Any]:
    """Attention's output and what `attend_backward` needs.

    The output is (T, H), with `first_only` (n, H).  In the rows of fillers it is finite and has no
    meaning.

    Args:
        source: Q, K and V side by side, flat: (T, 3, h, d).  With `first_only` Q of the [CLS]
            tokens, (n, h, d), followed by K and V side by side, (T, 2, h, d).
        drop: the probability with which an attention weight is dropped.
    """
    width = head_width(source, packed, heads, first_only)
    kernel = kernel_for(source.device, source.dtype, width)
    output, saved = kernel.forward(source, packed, heads, masks, drop, first_only)
    return output, (kernel, saved)


def attend_backward(
    gradient: Tensor, saved: Any, packed: Packed, heads: int, first_only: bool = False
) -> Tensor:
    """Gradient of the source, in its layout, for that of the output, (T, H) or (n, H).

    It is zero for fillers if `gradient` is zero there.
    """
    kernel, saved_by_kernel = saved
    result: Tensor = kernel.backward(gradient, saved_by_kernel, packed, heads, first_only)
    return result
