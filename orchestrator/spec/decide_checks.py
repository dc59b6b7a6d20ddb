"""Checks of `decide` that need the rest of the sweep: whether its names can occur at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.spec.decide import DecideSpec
from orchestrator.spec.layers import Draft
from orchestrator.spec.models import SweepSpec, nest, searchable
from orchestrator.spec.yaml_lines import Path
from trainer import config as trainer_config
from trainer.config import did_you_mean

#: The keys that make a method's name.
_METHOD = ("sampler", "combiner", "freeze")
_LAST_SEED = 2**31


def check_decide(draft: Draft, spec: SweepSpec) -> None:
    """Report what makes the question of `decide` impossible to answer."""
    decide = spec.decide
    if decide is None:
        return
    _check_names(draft, spec, decide)
    _check_metric(draft, spec, decide)
    _check_choose(draft, spec, decide)
    _check_epochs(draft, spec, decide)
    if max(spec.search.seeds) + decide.looks[-1] > _LAST_SEED:
        message = f"no seeds are left above search.seeds for {decide.looks[-1]} pairs"
        draft.report(("decide", "looks"), message, f"seeds <= {_LAST_SEED}")


def possible_methods(spec: SweepSpec) -> list[str]:
    """The names of all methods that the sweep's configurations can have.

    A condition on a key that makes no name counts as possible.
    """
    names: dict[str, None] = {}
    for entry in spec.enqueue:
        names |= dict.fromkeys(_names(spec, entry))
    if spec.search.algorithm != "list":
        names |= dict.fromkeys(_names(spec, {}))
    return list(names)


def _names(spec: SweepSpec, entry: Mapping[str, Any]) -> Iterator[str]:
    """The methods of the configurations that begin as `entry`; the search adds open keys."""
    partial: list[dict[str, Any]] = [{k: entry[k] for k in _METHOD if k in entry}]
    if spec.search.algorithm != "list":
        for key in (k for k in spec.space if k in _METHOD and k not in entry):
            partial = [params for each in partial for params in _extended(spec, key, each)]
    for params in partial:
        sampler, combiner, freeze = (
            str(params[key]) if key in params else str(spec.base_value(key)) for key in _METHOD
        )
        name = f"{sampler}+{combiner}"
        yield name if freeze == "none" else f"{name}+freeze-{freeze}"


def _extended(spec: SweepSpec, key: str, params: dict[str, Any]) -> list[dict[str, Any]]:
    """The params with each value of dimension `key`, or as they are where it is not searched."""
    dimension = spec.space[key]
    known = [name for name in dimension.when if name in _METHOD]
    values = {name: params.get(name, spec.base_value(name)) for name in known}
    if any(values[name] not in dimension.when[name] for name in known):
        return [params]
    choices = [{**params, key: choice} for choice in dimension.choices or []]
    return choices if len(known) == len(dimension.when) else [params, *choices]


def _check_names(draft: Draft, spec: SweepSpec, decide: DecideSpec) -> None:
    methods = possible_methods(spec)
    #: What a user may write: whole names, and samplers as the beginning of several names.
    allowed = list(dict.fromkeys([*(name.partition("+")[0] for name in methods), *methods]))
    for i, name in enumerate(decide.compare):
        if not any(method.startswith(name) for method in methods):
            hint = did_you_mean(name, allowed)
            message = f"no configuration of this sweep can be {name!r}{hint}"
            draft.report(("decide", "compare", i), message, ", ".join(allowed))


def _check_metric(draft: Draft, spec: SweepSpec, decide: DecideSpec) -> None:
    config = trainer_config.check(spec.base)[0]
    if config is None:
        return  # reported at its line
    scored = [task.name for task in config.task_list if task.scored]
    allowed = ["dev_score", "dev_mean", *scored]
    if decide.metric not in allowed:
        message = f"unknown metric {decide.metric!r}{did_you_mean(decide.metric, allowed)}"
        draft.report(("decide", "metric"), message, ", ".join(allowed))


def _check_choose(draft: Draft, spec: SweepSpec, decide: DecideSpec) -> None:
    """`choose` names methods of `compare`, each with params that make a valid configuration."""
    if not isinstance(decide.choose, dict):
        return
    for name, params in decide.choose.items():
        at: Path = ("decide", "choose", name)
        if name not in decide.compare:
            hint = did_you_mean(name, decide.compare)
            draft.report(at, f"is not in decide.compare{hint}", ", ".join(decide.compare))
            continue
        unknown = [key for key in params if trainer_config.field_at(str(key)) is None]
        for key in unknown:
            problem = trainer_config.unknown_key(str(key), "", searchable())
            draft.report((*at, key), problem.message, problem.allowed)
        for key in params:
            field = trainer_config.field_at(str(key))
            if key == "seed" or (field is not None and field.metadata.get("runtime")):
                draft.report((*at, key), "is not part of a configuration; has no effect")
        if unknown:
            continue
        config, problems = trainer_config.check(nest(spec.base, params.items()))
        for problem in problems:
            written = (problem.key,) if problem.key in params else tuple(problem.key.split("."))
            draft.report((*at, *written), problem.message, problem.allowed)
        if config is not None:
            (method,) = _names(spec.model_copy(update={"space": {}}), params)
            if not method.startswith(name):
                message = f"is a configuration of {method}, not of {name}"
                draft.report(at, message, "params with its sampler, combiner and freeze")


def _check_epochs(draft: Draft, spec: SweepSpec, decide: DecideSpec) -> None:
    """Both sides of a comparison need the same number of epochs, known before the search."""
    if isinstance(decide.choose, dict):
        chosen = [decide.choose.get(name, {}).get("epochs") for name in decide.compare]
        if chosen[0] is not None and len(set(chosen)) == 1:
            return
    entries = {entry.get("epochs", spec.base_value("epochs")) for entry in spec.enqueue}
    searched = "epochs" in spec.space and spec.search.algorithm != "list"
    if not searched and len(entries) < 2:
        return
    at: Path = ("space", "epochs") if searched else ("decide",)
    draft.report(
        at,
        "decide compares trials with one number of epochs, and this sweep has several",
        "epochs in base, the same epochs for every method in decide.choose, or no decide",
    )
