"""The rules that involve more than one key of a config."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from trainer.config.choices import (
    DEFAULT_HEAD,
    DEFAULT_PAIR_FEATURES,
    DEFAULT_PAIR_MODE,
    FROZEN_SETS,
    HEADS,
    JOINED_BY,
    PAIR_MODES,
    frozen_set,
)
from trainer.config.data_config import DataConfig
from trainer.config.fields import Problem, unknown_key
from trainer.config.task_choices import DEFAULT_CLASS_WEIGHTS, DEFAULT_PAIR_LOSS, PAIR_LOSSES
from trainer.config.task_declaration import TaskError, declared_tasks
from trainer.config.tasks import DEFAULT_TASKS, Task
from trainer.samplers import registry


def check_together(
    values: dict[str, Any], by_task: Container[str], problems: list[Problem]
) -> None:
    """Append a problem for every value that does not fit the others.

    Task names must be declared, mappings by task must name tasks of this trial, and methods must
    fit together.

    Args:
        values: the fields whose values are valid by themselves.
        by_task: the fields whose value may be a mapping by task.
        problems: the list to append to.
    """
    names = values.get("tasks", DEFAULT_TASKS)
    try:
        declared = declared_tasks(values.get("task_declarations", {}))
    except TaskError as error:
        problems += error.problems
        return
    if not names:
        problems.append(Problem("tasks", "no task is named", ", ".join(sorted(declared))))
    if not any(declared[name].scored for name in names if name in declared):
        problems.append(Problem("tasks", "none of the tasks is scored"))
    for name in names:
        if name not in declared:
            problems.append(Problem("tasks", f"unknown task {name!r}", ", ".join(sorted(declared))))
    if len(set(names)) != len(names):
        problems.append(Problem("tasks", "a task is named twice"))
    score, keep = values.get("score", "last"), values.get("keep", "both")
    if keep not in (score, "both"):
        message = f"the weights of the epoch that counts ({score}) would not be kept"
        problems.append(Problem("keep", message, f"{score}, both"))
    _check_per_task(values, by_task, names, problems)
    _check_methods(values, names, declared, problems)


def _check_per_task(
    values: dict[str, Any], by_task: Container[str], names: Any, problems: list[Problem]
) -> None:
    """Mappings by task must name tasks of this trial."""
    batch_size = values.get("batch_size")
    if isinstance(batch_size, dict) and set(batch_size) != set(names):
        allowed = "one entry each for " + ", ".join(names)
        problems.append(Problem("batch_size", "must give every task its size", allowed))
    data = values.get("data") or DataConfig()
    mappings = {"data.limit": data.limit, "data.dev_limit": data.dev_limit}
    if isinstance(data.max_length, dict):
        mappings["data.max_length"] = data.max_length
    mappings["data.allow_dropped"] = dict.fromkeys(data.allow_dropped, 0)
    for field, value in values.items():
        if isinstance(value, dict) and field in by_task:
            mappings[field.rstrip("_")] = value
    for key, mapping in mappings.items():
        problems += [unknown_key(task, f"{key}.", names) for task in mapping if task not in names]
    order = values.get("task_order")
    if order and sorted(order) != sorted(names):
        problems.append(Problem("task_order", "must name every task once", ", ".join(names)))


def _check_methods(
    values: dict[str, Any], names: Any, declared: dict[str, Task], problems: list[Problem]
) -> None:
    """Sampler, frozen set, heads and losses must fit the tasks."""
    task = values.get("train_task", "")
    if task and task not in names:
        problems.append(Problem("train_task", f"unknown task {task!r}", ", ".join(names)))
    _check_sampler(values, names, problems)
    _check_frozen_set(values.get("freeze", "none"), problems)
    tasks = [declared[name] for name in names if name in declared]
    for each in tasks:
        _check_head(values, each, problems)
        _check_pair_features(values, each, problems)
    _check_losses(values, tasks, problems)


def _check_sampler(values: dict[str, Any], names: Any, problems: list[Problem]) -> None:
    """The sampler must be loadable, and its keys must have the form that it reads."""
    sampler = values.get("sampler", "round_robin")
    try:
        entry = registry.entry_of(sampler)
    except registry.NotLoadable as error:
        problems.append(Problem("sampler", str(error)))
        return
    if unknown := sorted(set(entry.keys) - set(registry.SAMPLER_KEYS)):
        message = f"{sampler} reads {', '.join(unknown)}, which are not keys of samplers"
        problems.append(Problem("sampler", message, ", ".join(registry.SAMPLER_KEYS)))
    if entry.needs_task and not values.get("train_task") and len(names) > 1:
        message = f"{sampler} needs the name of the task to train"
        problems.append(Problem("train_task", message, ", ".join(names)))
    for field, key in (("B", "B"), ("lambda_", "lambda")):
        if isinstance(values.get(field), dict) and key not in entry.by_task:
            owners = [e.name for e in registry.SAMPLERS.values() if key in e.by_task]
            message = f"a mapping by task works with {' or '.join(owners)}, not with {sampler}"
            problems.append(Problem(key, message, "one number"))
    if isinstance(values.get("lambda_"), dict):
        phases = values.get("B")
        if not isinstance(phases, dict) or set(phases) != set(values["lambda_"]):
            problems.append(Problem("lambda", "a mapping needs a B for the same tasks"))


def _check_frozen_set(freeze: str, problems: list[Problem]) -> None:
    """Every part of `freeze` must be in the list, and a range must not be reversed."""
    for part in [] if freeze == "none" else freeze.split(JOINED_BY):
        named = frozen_set(part)
        limits = named[1].groupdict() if named else {}
        reversed_range = "last" in limits and int(limits["first"]) > int(limits["last"])
        if named is None or named[0].name == "none" or reversed_range:
            allowed = f"{', '.join(FROZEN_SETS)}, several joined by {JOINED_BY}"
            problems.append(Problem("freeze", f"unknown set {freeze!r}", allowed))
            return


def _check_head(values: dict[str, Any], task: Task, problems: list[Problem]) -> None:
    """A head that needs several vectors of an example needs a pair mode that gives them."""
    head = values.get("head", DEFAULT_HEAD)
    name = _for_task(head, task.name, DEFAULT_HEAD)
    needed = HEADS[name].needs_vectors
    if task.is_pair:
        pair = values.get("pair", DEFAULT_PAIR_MODE)
        if PAIR_MODES[_for_task(pair, task.name, DEFAULT_PAIR_MODE)].vectors < needed:
            modes = " or ".join(mode.name for mode in PAIR_MODES.values() if mode.vectors >= needed)
            message = f"{name} compares two sentence vectors of {task.name}"
            problems.append(Problem("head", message, f"pair: {modes} for {task.name}"))
    elif needed > 1 and isinstance(head, dict):
        message = f"{name} compares two sentences, and {task.name} has one"
        problems.append(Problem("head", message))


def _check_losses(values: dict[str, Any], tasks: list[Task], problems: list[Problem]) -> None:
    """Class weights need classes, and pair losses need the two sentence vectors of a pair."""
    classes = [task.name for task in tasks if task.label_classes]
    pairs = [task.name for task in tasks if task.is_pair]
    weights = values.get("class_weights", DEFAULT_CLASS_WEIGHTS)
    losses = values.get("pair_loss", DEFAULT_PAIR_LOSS)
    for key, value, default, fit, lack in (
        ("class_weights", weights, DEFAULT_CLASS_WEIGHTS, classes, "labels that are classes"),
        ("pair_loss", losses, DEFAULT_PAIR_LOSS, pairs, "pairs of sentences"),
    ):
        named = [t.name for t in tasks if isinstance(value, dict) and t.name in value]
        for name in named:
            if value[name] != default and name not in fit:
                problems.append(Problem(f"{key}.{name}", f"{name} has no {lack}", ", ".join(fit)))
        if value != default and not fit and not named:
            problems.append(Problem(key, f"no task has {lack}", default))
    for name in pairs:
        loss = _for_task(losses, name, DEFAULT_PAIR_LOSS)
        pair = _for_task(values.get("pair", DEFAULT_PAIR_MODE), name, DEFAULT_PAIR_MODE)
        count = next(task.label_classes for task in tasks if task.name == name)
        if PAIR_LOSSES[loss].needs_vectors and count > 2:
            message = f"{loss} needs positive and other pairs, and {name} has {count} classes"
            problems.append(Problem("pair_loss", message, f"{DEFAULT_PAIR_LOSS} for {name}"))
        if PAIR_MODES[pair].vectors < PAIR_LOSSES[loss].needs_vectors:
            message = f"{loss} compares two sentence vectors of {name}"
            problems.append(Problem("pair_loss", message, f"pair: siamese for {name}"))


def _check_pair_features(values: dict[str, Any], task: Task, problems: list[Problem]) -> None:
    """Pair features need two sentence vectors, and a head that takes any number of them."""
    features = values.get("pair_features", DEFAULT_PAIR_FEATURES)
    name = _for_task(features, task.name, DEFAULT_PAIR_FEATURES)
    if name == DEFAULT_PAIR_FEATURES:
        return
    head = _for_task(values.get("head", DEFAULT_HEAD), task.name, DEFAULT_HEAD)
    pair = _for_task(values.get("pair", DEFAULT_PAIR_MODE), task.name, DEFAULT_PAIR_MODE)
    if task.is_pair and PAIR_MODES[pair].vectors != 2:
        modes = " or ".join(mode.name for mode in PAIR_MODES.values() if mode.vectors == 2)
        message = f"{name} compares two sentence vectors of {task.name}"
        problems.append(Problem("pair_features", message, f"pair: {modes} for {task.name}"))
    elif task.is_pair and HEADS[head].needs_vectors:
        message = f"head {head} of {task.name} takes both vectors as they are"
        problems.append(Problem("pair_features", message, DEFAULT_PAIR_FEATURES))
    elif not task.is_pair and isinstance(features, dict):
        message = f"{name} compares two sentences, and {task.name} has one"
        problems.append(Problem("pair_features", message))


def _for_task(value: Any, task: str, default: str) -> Any:
    return value.get(task, default) if isinstance(value, dict) else value
