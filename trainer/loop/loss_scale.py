"""fp16: one factor on all losses, so that small gradients do not round to zero.

Micikevicius et al. 2018, "Mixed Precision Training", section 3.2; the factor adapts as in PyTorch's
GradScaler.  It is the same for all tasks of a step, so that it changes no angle between their
gradients: a method that projects or reweights gradients computes what it would without it.

A step whose gradients overflow is skipped: parameters and optimizer states stay as they are, and
the factor is halved.  The host never waits for the answer.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

#: The first factor, and how many steps without overflow double it.
FIRST, GROWTH_INTERVAL = 2.0**16, 2000


class LossScale:
    """The factor of a trial, on its device."""

    def __init__(self, device: torch.device):
        #: () and fp32.
        self.factor = torch.tensor(FIRST, device=device)
        #: int32 (), steps without overflow since the factor last changed.
        self._good_steps = torch.zeros((), dtype=torch.int32, device=device)
        #: fp32 (), 1 if this step's gradients overflow.  A fused optimizer skips its step then.
        self.overflow = torch.zeros((), device=device)
        #: fp32 (), steps skipped since `take_skipped`.
        self._skipped = torch.zeros((), device=device)

    def of_gramian(self, gramian: Tensor) -> Tensor:
        """G (K, K) of the unscaled gradients.  It is zero where they overflow.

        The step is skipped then.  A method that solves for its weights would fail on numbers that
        are not finite.
        """
        unscaled = gramian / self.factor.square()
        return torch.where(torch.isfinite(unscaled).all(), unscaled, 0.0)

    def unscale(self, updates: Iterable[Tensor]) -> None:
        """Divide gradients by the factor, and note in `overflow` if one of them is not finite."""
        self.overflow.zero_()
        torch._amp_foreach_non_finite_check_and_unscale_(
            list(updates), self.overflow, self.factor.reciprocal()
        )

    def end_step(self) -> None:
        """Halve the factor after an overflow, double it after many steps without one."""
        self._skipped.add_(self.overflow)
        torch._amp_update_scale_(
            self.factor, self._good_steps, self.overflow, 2.0, 0.5, GROWTH_INTERVAL
        )

    def take_skipped(self) -> int:
        """Steps skipped since the last call.  Waits for the device."""
        skipped = int(self._skipped)
        self._skipped.zero_()
        return skipped

    def state(self) -> dict[str, Tensor]:
        """For a checkpoint."""
        return {"factor": self.factor, "good_steps": self._good_steps}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take the state of a checkpoint, in place: recorded steps read this memory."""
        for name, tensor in self.state().items():
            tensor.copy_(state[name])
