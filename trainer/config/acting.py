"""Which keys of a config act, and the mapping that identifies its trial.

A key acts if the chosen methods read it.  A key that does not act is no part of a trial's identity,
so two configs that differ only in such keys are the same trial.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Container
from typing import TYPE_CHECKING, Any

from trainer.combiners.registry import COMBINER_KEYS, COMBINERS
from trainer.config.choices import EMULATED, SCHEDULES
from trainer.config.fields import file_fields
from trainer.config.task_choices import DEFAULT_PAIR_LOSS
from trainer.samplers import registry as samplers

if TYPE_CHECKING:
    from trainer.config.train_config import TrainConfig


#: Keys that say how steps are taken, besides those of samplers and combiners.
_TRAINING = (
    "combiner", "freeze", "smart_weight", "bregman_weight", "batch_size", "accumulate",
    "learning_rate", "head_learning_rate", "layer_decay", "weight_decay", "adam_epsilon",
    "clip_norm", "optimizer_state", "schedule", "warmup_steps", "dropout", "encoder_dropout",
    "attention_dropout", "task_weights", "class_weights", "pair_loss", "pair_loss_weight",
)  # fmt: skip


def inactive(config: TrainConfig) -> dict[str, str]:
    """Keys that do not act in this config, each with the reason."""
    reasons: dict[str, str] = {}
    entry = samplers.entry_of(config.sampler)
    read = entry.keys
    if not entry.trains:
        for key in _TRAINING:
            reasons[key] = f"sampler {config.sampler} takes no step"
    for key in samplers.SAMPLER_KEYS:
        if key not in read:
            reasons[key] = f"sampler {config.sampler} does not use {key}"
    if "steps_per_epoch" in read and config.steps_per_epoch:
        reasons["B"] = "steps_per_epoch is given"
    for key in COMBINER_KEYS:
        if not entry.trains or key not in COMBINERS[config.combiner].keys:
            reasons[key] = f"combiner {config.combiner} does not use {key}"
    if not any(task.is_pair for task in config.task_list):
        reasons["pair_features"] = "no task has pairs"
    if not config.head_learning_rate:
        reasons["head_learning_rate"] = "it is 0: the heads learn at learning_rate"
    if not config.smart_weight or not entry.trains:
        for name in ("radius", "epsilon", "norm", "steps", "step_size", "noise"):
            reasons[f"smart_{name}"] = "smart_weight is 0"
    if not config.bregman_weight or not entry.trains:
        reasons["bregman_momentum"] = "bregman_weight is 0"
    if all(config.pair_loss_of(task) == DEFAULT_PAIR_LOSS for task in config.task_list):
        reasons["pair_loss_weight"] = "no task has a pair_loss"
    if config.data.source != "synthetic":
        reasons["data.seed"] = reasons["data.size"] = "data are read, not generated"
    if all(map(config.generates, config.tasks)):
        reasons["data.root"] = "data are generated, not read"
    return reasons


def bound_to_epochs(config: TrainConfig) -> str:
    """Why this trial's first epochs depend on the number of all epochs; empty if not."""
    if reason := samplers.entry_of(config.sampler).depends_on_epochs:
        return reason
    return SCHEDULES[config.schedule].depends_on_epochs


def canonical(config: TrainConfig, only: Container[str] | None = None) -> dict[str, Any]:
    """The identifying mapping: parameters that act, without run-time ones.

    It has no data folder, because the data's fingerprint stands for it.  It has no
    `encoder_dropout` that equals `dropout`: the first format had one key for both, and such a trial
    has the same identity in every format.

    Args:
        only: return these top-level keys only, which is faster.
    """
    cls: Any = type(config)
    identity = {
        key: plain(getattr(config, name), runtime=False)
        for key, name in _names(cls, False)
        if only is None or key in only
    }
    if (precision := identity.get("precision")) in EMULATED:
        identity["precision"] = EMULATED[precision]
    if config.encoder_dropout == config.dropout:
        identity.pop("encoder_dropout", None)
    if "data" in identity:
        identity["data"]["max_length"] = _max_length(config)
    for key in (*inactive(config), "data.root"):
        group, _, inner = key.rpartition(".")
        (identity.get(group, {}) if group else identity).pop(inner, None)
    return identity


def _max_length(config: TrainConfig) -> int | dict[str, int]:
    """The number of tokens at which each task is cut; one number if it is the same for all."""
    lengths = {task.name: config.max_length_of(task) for task in config.task_list}
    return lengths if len(set(lengths.values())) > 1 else next(iter(lengths.values()))


def plain(value: Any, *, runtime: bool = True) -> Any:
    """A config's value as JSON can have it; `runtime`: with the keys that do not identify."""
    if isinstance(value, str | int | float | None):
        return value  # first, because ledgers have thousands of configs
    if isinstance(value, dict):
        return {str(k): plain(v, runtime=runtime) for k, v in sorted(value.items())}
    if isinstance(value, tuple | list):
        return [plain(v, runtime=runtime) for v in value]
    cls: Any = type(value)
    return {key: plain(getattr(value, name), runtime=runtime) for key, name in _names(cls, runtime)}


@functools.cache
def born_defaults(cls: type) -> dict[str, Any]:
    """The default that each key had when it came, as plain values by their names in files."""
    defaults = {}
    for key, field in file_fields(cls).items():
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if dataclasses.is_dataclass(default) and not isinstance(default, type):
            nested: Any = type(default)
            defaults[key] = born_defaults(nested)
            continue
        defaults[key] = plain(field.metadata.get("born", default))
    return defaults


@functools.cache
def _names(cls: type, runtime: bool) -> tuple[tuple[str, str], ...]:
    """The names of a dataclass's fields in files and in Python."""
    fields = [f for f in dataclasses.fields(cls) if runtime or not f.metadata.get("runtime")]
    return tuple((f.name.rstrip("_"), f.name) for f in fields)
