"""Every numeric option of a trial acts: twice or half of its default changes a tiny run.

The test walks the fields of the config, so a new key is covered when it is added.  Options that
only say how a trial runs are marked `runtime` where they are declared, and are left out.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import json
import typing
from pathlib import Path
from typing import Any

import pytest

from trainer.config import ConfigError, DataConfig, TrainConfig, field_at, fields_of
from trainer.loop.run import Run
from trainer.train import train_epoch

#: Smaller differences of a loss count as none: float32 rounds a loss at 1e-7 of its size.
MEASURABLE = 1e-6

#: The run in which a key is tried, if it has no entry below.
PLAIN: dict[str, Any] = {
    "encoder": "tiny", "epochs": 2, "learning_rate": 1e-3, "threads": 1, "predict_test": False,
    "data.source": "synthetic", "data.size": 16, "data.limit": {"qqp": 40},
    "data.dev_limit": {"sst": 20, "qqp": 20, "sts": 20},
}  # fmt: skip
#: Key -> what else the config must say for the key to act.  A key whose default is 0 (it is off),
#: or too large for a test, has a value of its own here, which stands for the default.
CONTEXTS: dict[str, dict[str, Any]] = {
    "B": {"sampler": "annealed", "B": 48},
    "steps_per_epoch": {"sampler": "annealed", "steps_per_epoch": 4},
    "draws_per_step": {"sampler": "annealed", "B": 96, "draws_per_step": 2},
    "annealing": {"sampler": "annealed", "B": 200},
    "lambda": {"sampler": "arrp", "B": 24},
    "pretrain_epochs": {"sampler": "rr_pretrain"},
    "combiner_options": {"combiner": "torchjd.CAGrad", "combiner_options": {"c": 0.4}},
    "pair_loss_weight": {"pair": "siamese", "pair_loss": "cosine_embedding"},
    "smart_weight": {"smart_weight": 1.0},
    "smart_epsilon": {"smart_weight": 1.0},
    "smart_steps": {"smart_weight": 1.0},
    "smart_step_size": {"smart_weight": 1.0},
    "smart_noise": {"smart_weight": 1.0},
    "bregman_weight": {"bregman_weight": 1.0},
    "bregman_momentum": {"bregman_weight": 1.0},
    "epochs": {"schedule": "linear"},
    "learning_rate": {"learning_rate": 1e-5},
    "head_learning_rate": {"head_learning_rate": 1e-3},
    "weight_decay": {"weight_decay": 0.01},
    "adam_epsilon": {"clip_norm": 1e-5},  # gradients as small as it is
    "clip_norm": {"clip_norm": 0.5},
    "warmup_steps": {"warmup_steps": 2},
    "data.max_length": {"data.max_length": 8},
}  # fmt: skip
NUMBERS = (int, float)


def numeric_keys() -> list[str]:
    """Every key whose value is a number, or a mapping to numbers, and which identifies a trial."""
    keys = []
    for cls, prefix in ((TrainConfig, ""), (DataConfig, "data.")):
        hints = typing.get_type_hints(cls)
        for key, field in fields_of(cls).items():
            hint = hints[field.name]
            parts = {hint, *typing.get_args(hint)}
            parts |= {inner for part in parts for inner in typing.get_args(part)}
            if parts & set(NUMBERS) and not field.metadata.get("runtime"):
                keys.append(prefix + key)
    return keys


def config_of(settings: dict[str, Any], cache: Path) -> TrainConfig:
    mapping: dict[str, Any] = {"data": {"cache": str(cache)}}
    for key, value in copy.deepcopy(settings).items():
        group, _, inner = key.rpartition(".")
        (mapping[group] if group else mapping)[inner] = value
    return TrainConfig.from_dict(mapping)


def default_of(key: str) -> Any:
    field = field_at(key)
    assert field is not None
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def changed(key: str, value: Any, settings: dict[str, Any], cache: Path) -> dict[str, Any]:
    """The settings with twice the value, or with half of it if twice is not allowed; 1 for 0."""
    for factor in (2, 0.5):
        other = {**settings, key: scaled(value, factor)}
        with contextlib.suppress(ConfigError):
            config_of(other, cache)
            return other
    raise AssertionError(f"{key}: neither twice nor half of {value!r} is allowed")


def scaled(value: Any, factor: float) -> Any:
    if isinstance(value, dict):
        return {name: scaled(inner, factor) for name, inner in value.items()}
    return type(value)(value * factor) or type(value)(1)


def losses_of(settings: dict[str, Any], cache: Path) -> list[float]:
    """Training and dev losses of every task after every epoch, and the numbers of examples."""
    return _losses(json.dumps(settings, sort_keys=True), cache)


@functools.cache
def _losses(settings: str, cache: Path) -> list[float]:
    run = Run(config_of(json.loads(settings), cache))
    found = []
    for number in range(1, run.config.epochs + 1):
        record = train_epoch(run, number)[0]
        for values in record["tasks"].values():
            found += [values["train_loss"] or 0.0, values["dev_loss"], float(values["examples"])]
    return found


@pytest.mark.parametrize("key", numeric_keys())
def test_the_value_of_an_option_acts(cache: Path, key: str) -> None:
    settings = {**PLAIN, **CONTEXTS.get(key, {})}
    value = settings.get(key, default_of(key))
    assert value not in ({}, None), f"{key}: give it a value in CONTEXTS"
    one, other = settings | {key: value}, changed(key, value, settings, cache)
    for each in (one, other):
        assert key not in config_of(each, cache).inactive(), f"{key}: needs another context"
    before, after = losses_of(one, cache), losses_of(other, cache)
    if len(before) != len(after):
        return  # another number of epochs
    difference = max(abs(a - b) / max(abs(a), 1e-9) for a, b in zip(before, after, strict=True))
    assert difference > MEASURABLE, f"{key}: {value!r} and {other[key]!r} train the same run"


def test_contexts_belong_to_keys() -> None:
    assert set(CONTEXTS) <= set(numeric_keys())
