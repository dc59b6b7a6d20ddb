"""The kernels that compute attention, and which of them serves a device.

A GPU's kernel is tried on a few sentences before a process uses it the first time.  One that fails
there, or that does not agree with the grids, is not used: another version of torch or of a driver
then makes training slower, and not wrong.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.model.attention import fused, grids
from trainer.model.dropout import Masks
from trainer.model.packing import Packed, Part, pack

#: (source, packed, heads, masks, drop, first_only) -> (output, saved).
Forward = Callable[[Tensor, Packed, int, Masks, float, bool], tuple[Tensor, Any]]
#: (gradient, saved, packed, heads, first_only) -> gradient of the source.
Backward = Callable[[Tensor, Any, Packed, int, bool], Tensor]
#: Half precision has so many bits less than fp32 that two correct kernels differ by this share.
_AGREEMENT = {torch.float32: 1e-2, torch.float16: 2e-2, torch.bfloat16: 6e-2}
#: What a kernel is tried on: lengths of sentences, and heads.
_LENGTHS, _HEADS = (7, 30, 1, 12), 2


@dataclass(frozen=True)
class Kernel:
    """One way to compute attention, forward and backward."""

    name: str
    forward: Forward
    backward: Backward
    #: The GPUs that have it, by the lowest compute capability for each precision; None: every
    #: device, in every precision.
    since: dict[torch.dtype, tuple[int, int]] | None
    #: Whether steps can be recorded (trainer.loop.cuda_graphs): nothing about a batch is computed
    #: on the host.
    recordable: bool = True

    def serves(self, device: torch.device, dtype: torch.dtype, width: int) -> bool:
        """Whether it claims to serve heads of this width on the device."""
        if self.since is None:
            return True
        return (
            device.type == "cuda"
            and dtype in self.since
            and width % 8 == 0
            and width <= 256
            and torch.cuda.get_device_capability(device) >= self.since[dtype]
        )


KERNELS = (
    Kernel(
        "flash", fused.flash_forward, fused.flash_backward,
        {torch.bfloat16: (8, 0), torch.float16: (8, 0)},
    ),
    Kernel(
        "memory-efficient", fused.memory_efficient_forward, fused.memory_efficient_backward,
        {torch.float32: (5, 0), torch.float16: (5, 3), torch.bfloat16: (8, 0)},
    ),
    Kernel("grids", grids.forward, grids.backward, None, recordable=False),
)  # fmt: skip


@cache
def kernel_for(device: torch.device, dtype: torch.dtype, width: int) -> Kernel:
    """The first kernel that serves heads of this width, and that computes what the grids do."""
    *fused_kernels, last = (kernel for kernel in KERNELS if kernel.serves(device, dtype, width))
    for kernel in fused_kernels:
        if not (problem := disagreement(kernel, device, dtype, width)):
            return kernel
        warnings.warn(f"attention without the {kernel.name} kernel: {problem}", stacklevel=2)
    return last


def disagreement(kernel: Kernel, device: torch.device, dtype: torch.dtype, width: int) -> str:
    """Why the kernel cannot be used there, in a few words; empty if it agrees with the grids."""
    for first_only in (False, True):
        try:
            theirs = _tried(kernel, device, dtype, width, first_only)
            ours = _tried(KERNELS[-1], device, dtype, width, first_only)
        except (RuntimeError, TypeError) as error:  # no such kernel, or another signature
            return str(error).partition("\n")[0]
        for name, their, our in zip(("output", "gradient"), theirs, ours, strict=True):
            difference = float((their - our).norm() / our.norm())
            if not difference <= _AGREEMENT[dtype]:  # also if it is no number
                return f"its {name} is {difference:.1%} away from that of the grids"
    return ""


def _tried(
    kernel: Kernel, device: torch.device, dtype: torch.dtype, width: int, first_only: bool
) -> tuple[Tensor, Tensor]:
    """Output and gradient of the source on a few sentences, in fp32, without fillers' outputs."""
    lengths = np.array(_LENGTHS)
    packed = pack([Part(np.arange(lengths.sum()), lengths, lengths)]).to(device)
    rows = packed.sentences + packed.tokens * 2 if first_only else packed.tokens * 3
    real = packed.sentences if first_only else int(lengths.sum())
    numbers = np.random.default_rng(0)  # leaves torch's generators alone

    def random(*shape: int) -> Tensor:
        drawn = torch.from_numpy(numbers.standard_normal(shape, dtype=np.float32))
        return drawn.to(device, dtype)

    source = random(rows * _HEADS, width)
    output, saved = kernel.forward(source, packed, _HEADS, Masks(), 0.0, first_only)
    gradient = torch.zeros_like(output)
    gradient[:real] = random(real, _HEADS * width)
    back = kernel.backward(gradient, saved, packed, _HEADS, first_only)
    return output[:real].float(), back.view(-1, width).float()
