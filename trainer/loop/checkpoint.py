"""Weights and optimizer states to bytes and back, as safetensors and never as pickle."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import save
from torch import Tensor

from trainer.loop.flat_parameters import FlatParameters
from trainer.loop.loss_scale import LossScale
from trainer.loop.optimizers import Optimizers
from trainer.loop.smart import Smart
from trainer.model.heads import MultitaskModel
from trainer.model.weights_file import load_into, tensors
from trainer.storage.folder import StoreError
from trainer.storage.trial_directory import WEIGHTS, TrialDirectory, checkpoint_name

__all__ = ["WEIGHTS", "TrialState", "restore", "snapshot"]

OPTIMIZER, SLOW = "optimizer.safetensors", "slow.safetensors"
LOSS_SCALE = "loss_scale.safetensors"


@dataclass(frozen=True)
class TrialState:
    """The state of a trial that its checkpoints hold."""

    model: MultitaskModel
    parameters: FlatParameters
    optimizers: Optimizers
    smart: Smart
    loss_scale: LossScale | None


def snapshot(epoch: int, trial: TrialState) -> dict[str, bytes]:
    """The checkpoint files of an epoch: weights, optimizer states, SMART's slow copy, loss scale.

    Samplers, dropout and projection orders start again from (seed, epoch) in every epoch.  So the
    epoch's number is the whole random state.
    """
    moments: dict[str, Tensor] = {}
    for name, optimizer in trial.optimizers.states.items():
        for segment in trial.parameters.segments:
            for key, value in optimizer.state.get(segment.values, {}).items():
                moments[f"{name}|{segment.name}|{key}"] = torch.as_tensor(value)
    files = {
        WEIGHTS: trial.model.state_dict(),
        OPTIMIZER: moments,
        SLOW: trial.smart.state(),
        LOSS_SCALE: trial.loss_scale.state() if trial.loss_scale else {},
    }
    metadata = {"epoch": str(epoch)}
    return {
        checkpoint_name(epoch, file): save(
            {key: tensor.detach().cpu().clone() for key, tensor in tensors.items()}, metadata
        )
        for file, tensors in files.items()
        if tensors or file == OPTIMIZER  # a trial without a step has an empty one
    }


def restore(store: TrialDirectory, epoch: int, trial: TrialState) -> None:
    """Load the checkpoint of a committed epoch into the trial.  Raises `StoreError`."""
    load_into(trial.model, store.checkpoint(epoch, WEIGHTS), checkpoint_name(epoch, WEIGHTS))
    states: dict[tuple[str, str], dict[str, Tensor]] = {}
    values = {segment.name: segment.values for segment in trial.parameters.segments}
    for key, tensor in _tensors(store, epoch, OPTIMIZER).items():
        name, _, rest = key.partition("|")
        segment, _, entry = rest.partition("|")
        if segment not in values:
            raise StoreError(f"{checkpoint_name(epoch, OPTIMIZER)}: is of another trial: {key!a}")
        states.setdefault((name, segment), {})[entry] = tensor
    for (name, segment), entries in states.items():
        device = values[segment].device
        # AdamW keeps its step counter with the moments, and fused needs all on one device.
        trial.optimizers.get(name).state[values[segment]] = {
            entry: tensor.to(device) for entry, tensor in entries.items()
        }
    if trial.smart.slow is not None:
        trial.smart.load(_tensors(store, epoch, SLOW))
    if trial.loss_scale is not None:
        trial.loss_scale.load(_tensors(store, epoch, LOSS_SCALE))


def _tensors(store: TrialDirectory, epoch: int, file: str) -> dict[str, Tensor]:
    return tensors(store.checkpoint(epoch, file), checkpoint_name(epoch, file))
