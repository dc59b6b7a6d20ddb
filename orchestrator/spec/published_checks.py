"""Checks of `published`: whether each row names configurations that the sweep has."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.spec.layers import Draft
from orchestrator.spec.models import SweepSpec, nest
from orchestrator.spec.published import PublishedRow
from orchestrator.spec.yaml_lines import Path
from trainer import config as trainer_config
from trainer.config import Problem, TrainConfig, did_you_mean
from trainer.config.formats import translate
from trainer.config.tasks import TASKS

_FIGURES = ("dev_score", "dev_mean", "minutes_per_epoch")
_KEYS = ("config", "joined", *_FIGURES, "note", "setup")


def check_published(draft: Draft, spec: SweepSpec) -> None:
    """Report rows without a configuration, with a wrong one, or with figures of no task."""
    if spec.published is None:
        return
    known = {*TASKS, *_declared(spec.base)}
    of_base = _problems(spec, {})
    for number, row in enumerate(spec.published.rows):
        at: Path = ("published", "rows", number)
        if (row.config is None) == (row.joined is None):
            both = "belongs to one configuration, or joins one of each task, not both"
            message = "names no configuration" if row.config is None else both
            draft.report(at, message, "config, joined")
        for inside, params in row.configs():
            for problem in _problems(spec, params):
                if problem not in of_base:  # those stand at base itself
                    where = (*at, *inside, *problem.key.split("."))
                    draft.report(where, problem.message, problem.allowed)
        tasks = known | {task for _, params in row.configs() for task in _declared(params)}
        for name in row.tasks.keys() | (row.joined or {}).keys():
            if name not in tasks:
                _unknown_task(draft, (*at, name), name, tasks)
    for path, train in _train_sizes(spec):
        for name in train:
            if name not in known:
                _unknown_task(draft, (*path, name), name, known)


def _problems(spec: SweepSpec, params: Mapping[str, Any]) -> list[Problem]:
    """The trainer's problems with base + params."""
    return trainer_config.check(translate(nest(spec.base, params.items()), spec.format))[1]


def check_rows_are_trained(draft: Draft, spec: SweepSpec) -> None:
    """Report rows whose configuration is none of the sweep's.

    A profile or `--set` may have replaced the configurations, but not the rows.  Then a row may be
    absent, and `orch compare --published` says so.

    Args:
        spec: with the entries of a grid.
    """
    replaced = draft.changed & {"enqueue", "space", "search"}
    if spec.published is None or (replaced and "published" not in draft.changed):
        return
    entries = [canonical(spec, entry) for entry in spec.enqueue]
    for number, row in enumerate(spec.published.rows):
        for path, params in row.configs():
            if canonical(spec, params) not in entries:
                message = f"{row.method}: no entry of enqueue is this configuration"
                draft.report(("published", "rows", number, *path), message, _nearest(spec, row))


def canonical(spec: SweepSpec, params: Mapping[str, Any]) -> dict[str, Any]:
    """What identifies a configuration of the sweep within it; raises `ConfigError`."""
    return _without_seed(spec.config_for(params, spec.search.seeds[0]))


def _without_seed(config: TrainConfig) -> dict[str, Any]:
    return {key: value for key, value in config.canonical().items() if key != "seed"}


def _nearest(spec: SweepSpec, row: PublishedRow) -> str:
    """The entries that share most keys with the row, as text."""
    params = [params for _, params in row.configs()]
    wanted = {(key, repr(value)) for each in params for key, value in each.items()}
    entries = sorted(
        spec.enqueue, key=lambda entry: -len(wanted & {(k, repr(v)) for k, v in entry.items()})
    )
    return " or ".join(map(str, entries[:3])) or "an entry of enqueue"


def _declared(params: Mapping[str, Any]) -> list[str]:
    declared = params.get("task_declarations")
    return list(declared) if isinstance(declared, Mapping) else []


def _train_sizes(spec: SweepSpec) -> Iterator[tuple[Path, Mapping[str, int]]]:
    published = spec.published
    assert published is not None
    if published.setup is not None:
        yield ("published", "setup", "train"), published.setup.train or {}
    for number, row in enumerate(published.rows):
        if row.setup is not None:
            yield ("published", "rows", number, "setup", "train"), row.setup.train or {}


def _unknown_task(draft: Draft, path: Path, name: str, tasks: set[str]) -> None:
    known = [*sorted(tasks), *_KEYS]
    message = f"{name!r} is neither a task nor a key of a row{did_you_mean(name, known)}"
    draft.report(path, message, ", ".join(known))
