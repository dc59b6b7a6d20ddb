"""Hosts of two kinds on this machine: what the device multiplies natively is set by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch

import trainer.train
from trainer.config import TrainConfig
from trainer.loop import device
from trainer.train import EpochResult


def multiplying_bf16(patch: pytest.MonkeyPatch, native: bool) -> None:
    """From here on this process believes that its device multiplies bf16 natively, or not."""
    patch.setattr(device, "multiplies_bf16", lambda chosen: native)


def with_gpu(patch: pytest.MonkeyPatch, capability: tuple[int, int]) -> None:
    """From here on this process believes that it has a GPU of this compute capability."""
    patch.setattr(torch.cuda, "is_available", lambda: True)
    patch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    patch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: capability >= (8, 0)
    )


def train_without_bf16(
    config: TrainConfig, directory: str, *, identity: dict[str, Any] | None = None
) -> Iterator[EpochResult]:
    """`trainer.train.train` in a worker process whose device does not multiply bf16 natively."""
    with pytest.MonkeyPatch.context() as patch:
        multiplying_bf16(patch, False)
        yield from trainer.train.train(config, directory, identity=identity)
