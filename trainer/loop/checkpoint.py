"""Weights and optimizer states to bytes and back, as safetensors (never pickle)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from safetensors.torch import load, save
from torch import Tensor

from trainer.storage.trial_directory import TrialDirectory, checkpoint_name

if TYPE_CHECKING:
    from trainer.train import Run

WEIGHTS, OPTIMIZER, SLOW = "weights.safetensors", "optimizer.safetensors", "slow.safetensors"


def snapshot(epoch: int, run: Run) -> dict[str, bytes]:
    """The checkpoint files of an epoch.

    Samplers, dropout and projection orders start anew from (seed, epoch) in every epoch, so the
    epoch's number is all the random state there is.
    """
    state: dict[str, Tensor] = {}
    for name, optimizer in run.optimizers.items():
        for segment in run.parameters.segments:
            for key, value in optimizer.state.get(segment.values, {}).items():
                state[f"{name}|{segment.name}|{key}"] = torch.as_tensor(value)
    files = {WEIGHTS: run.model.state_dict(), OPTIMIZER: state, SLOW: run.smart.state()}
    metadata = {"epoch": str(epoch)}
    return {
        checkpoint_name(epoch, file): save(
            {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}, metadata
        )
        for file, tensors in files.items()
        if tensors
    }


def restore(store: TrialDirectory, epoch: int, run: Run) -> None:
    """Load a committed epoch's checkpoint in place."""
    run.model.load_state_dict(load(store.checkpoint(epoch, WEIGHTS)))
    states: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, tensor in load(store.checkpoint(epoch, OPTIMIZER)).items():
        name, segment, entry = key.split("|")
        states.setdefault((name, segment), {})[entry] = tensor
    values = {segment.name: segment.values for segment in run.parameters.segments}
    for (name, segment), entries in states.items():
        device = values[segment].device
        # AdamW keeps its step counter beside the moments; fused wants all on one device.
        moved = {entry: tensor.to(device) for entry, tensor in entries.items()}
        run.optimizer(name).state[values[segment]] = moved
    if run.smart.slow is not None:
        run.smart.load(load(store.checkpoint(epoch, SLOW)))
