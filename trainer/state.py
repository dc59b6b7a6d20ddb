"""Weights and optimizer state to bytes and back, as safetensors (never pickle)."""

from __future__ import annotations

import torch
from safetensors.torch import load, save
from torch import Tensor

from trainer.heads import MultitaskModel
from trainer.parameters import FlatParameters
from trainer.store import TrialDirectory, checkpoint_name

_WEIGHTS, _OPTIMIZER = "weights.safetensors", "optimizer.safetensors"


def snapshot(
    epoch: int, model: MultitaskModel, optimizer: torch.optim.Optimizer, parameters: FlatParameters
) -> dict[str, bytes]:
    """The checkpoint files of an epoch.

    Samplers, dropout and projection orders start anew from (seed, epoch) in every epoch, so the
    epoch's number is all the random state there is.
    """
    weights = {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    for segment in parameters.segments:
        for key, value in optimizer.state.get(segment.values, {}).items():
            state[f"{segment.name}|{key}"] = torch.as_tensor(value).detach().cpu().clone()
    metadata = {"epoch": str(epoch)}
    return {
        checkpoint_name(epoch, _WEIGHTS): save(weights, metadata),
        checkpoint_name(epoch, _OPTIMIZER): save(state, metadata),
    }


def restore(
    store: TrialDirectory,
    epoch: int,
    model: MultitaskModel,
    optimizer: torch.optim.Optimizer,
    parameters: FlatParameters,
) -> None:
    """Load a committed epoch's checkpoint in place."""
    model.load_state_dict(load(store.checkpoint(epoch, _WEIGHTS)))
    state = load(store.checkpoint(epoch, _OPTIMIZER))
    for segment in parameters.segments:
        prefix = f"{segment.name}|"
        entries = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if entries:
            device = segment.values.device
            # AdamW keeps its step counter beside the moments; fused wants all on one device.
            optimizer.state[segment.values] = {k: v.to(device) for k, v in entries.items()}
