"""No training: the model as it was initialised, the floor under every other row."""

from __future__ import annotations

from trainer.samplers.base import Epoch, Phase


def untrained(epoch: Epoch) -> list[Phase]:
    """P0's row "random" (Table 2): an epoch without phases."""
    return []
