"""Dimensions of the space and their values as Optuna's distributions and values, and back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import Trial

if TYPE_CHECKING:
    from orchestrator.spec.dimension import Dimension


def distribution(dimension: Dimension) -> BaseDistribution:
    """The distribution of a dimension."""
    if dimension.choices is not None:
        return CategoricalDistribution([plain(choice) for choice in dimension.choices])
    low, high, step, log = dimension.low, dimension.high, dimension.step, dimension.log
    assert low is not None and high is not None
    if dimension.kind == "int":
        return IntDistribution(int(low), int(high), log=log, step=int(step or 1))
    return FloatDistribution(float(low), float(high), log=log, step=step)


def suggest(trial: Trial, name: str, dimension: Dimension) -> Any:
    """Let Optuna propose a value, and convert it to ours."""
    drawn: Any
    match distribution(dimension):
        case CategoricalDistribution(choices=choices):
            drawn = trial.suggest_categorical(name, choices)
        case IntDistribution(low=low, high=high, step=step, log=log):
            drawn = trial.suggest_int(name, low, high, step=step, log=log)
        case FloatDistribution(low=low, high=high, step=step, log=log):
            drawn = trial.suggest_float(name, low, high, step=step, log=log)
    if dimension.choices is not None:
        return next(choice for choice in dimension.choices if _same(plain(choice), drawn))
    if dimension.step is not None and isinstance(drawn, float):
        return round(drawn, 12)  # so that 0.1 + 2 * 0.1 equals an enqueued 0.3
    return drawn


def in_optuna(dimension: Dimension, value: Any) -> Any:
    """Our value as Optuna stores it."""
    return plain(value) if dimension.choices is not None else value


def contains(dimension: Dimension, value: Any) -> bool:
    """Whether the search itself could have proposed `value`."""
    if dimension.choices is not None:
        return any(_same(choice, value) for choice in dimension.choices)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    assert dimension.low is not None and dimension.high is not None
    if not dimension.low <= value <= dimension.high:
        return False
    if dimension.kind == "int" and value != int(value):
        return False
    steps = (value - dimension.low) / dimension.step if dimension.step else 0.0
    return abs(steps - round(steps)) < 1e-8


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def plain(value: Any) -> Any:
    """A scalar as it is.  Optuna stores nothing else, so a list or mapping becomes JSON text."""
    if isinstance(value, bool | int | float | str | None):
        return value
    return json.dumps(value, sort_keys=True)
