"""What a sweep would do, for `--dry-run` and `validate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from orchestrator.spec.models import SweepSpec
from orchestrator.table_data import Column, Content, TableData
from trainer.config import TrainConfig


def plan(spec: SweepSpec) -> dict[str, Any]:
    """Trials, enqueued configurations with their acting keys, and the searched space."""
    search = spec.search
    entries = []
    for entry, config in zip(_tried(spec), configs(spec), strict=True):
        acting = config.canonical()
        del acting["seed"]
        open_keys = [k for k in spec.space if k not in entry and spec.acts(k, entry)]
        entries.append(
            {"params": entry, "acts": acting, "inactive": config.inactive(), "proposed": open_keys}
        )
    proposed = configurations(spec) - len(entries) if search.algorithm != "list" else 0
    space = {
        key: {"values": dimension.describe(), "kind": dimension.kind, "when": dimension.when}
        for key, dimension in spec.space.items()
    }
    return {
        "name": spec.name,
        "question": spec.question,
        "algorithm": search.algorithm,
        "per": search.per,
        "objectives": search.objectives,
        "configurations": configurations(spec),
        "seeds": search.seeds,
        "trials": configurations(spec) * len(search.seeds),
        "enqueued": entries,
        "proposed": proposed,
        "space": space,
        "scheduler": spec.scheduler.model_dump(),
        "resources": spec.resources.model_dump(),
        "tracking": spec.tracking.uri,
        "study": spec.tracking.study,
    }


def configs(spec: SweepSpec) -> list[TrainConfig]:
    """Those of the enqueued configurations, as `plan` lists them."""
    return [spec.config_for(entry, spec.search.seeds[0]) for entry in _tried(spec)]


def configurations(spec: SweepSpec) -> int:
    """The number of distinct configurations; a small space may have fewer."""
    return spec.search.num_trials * len(_shares(spec))


def size(spec: SweepSpec) -> str:
    """`7 configurations x 2 seeds = 14 trials`, with `search.per` `6 configurations (2 of each
    sampler) x ...`."""
    search, seeds = spec.search, len(spec.search.seeds)
    shares = f" ({search.num_trials} of each {search.per})" if search.per is not None else ""
    return (
        f"{configurations(spec)} configurations{shares} x {seeds} seed{'s' if seeds > 1 else ''} "
        f"= {configurations(spec) * seeds} trials"
    )


def table(spec: SweepSpec) -> TableData:
    """The enqueued configurations, by the keys in which they differ.

    A key that does not act in a configuration has `-` there, and one that the search chooses
    `searched`.
    """
    entries = plan(spec)["enqueued"]
    flat = [dict(_flat(entry["params"], "")) for entry in entries]
    keys = list(dict.fromkeys(key for each in flat for key in each))
    data = TableData(
        [
            Column("configuration", Content.NUMBER),
            *(Column(key, Content.NAME, rank) for rank, key in enumerate(keys, 1)),
        ]
    )
    for number, (entry, values) in enumerate(zip(entries, flat, strict=True), 1):
        chosen = dict(_flat(entry["acts"], "")) | values
        chosen |= dict.fromkeys(entry["proposed"], "searched")
        cells = (chosen.get(key, "") if _acts(key, entry) else "-" for key in keys)
        data.add(str(number), *cells)
    return data


def reasons(spec: SweepSpec) -> Iterator[str]:
    """For each enqueued configuration what acts in it, and what does not and why."""
    for number, entry in enumerate(plan(spec)["enqueued"], 1):
        yield ""
        yield f"configuration {number}: {_pairs(entry['params'])}"
        yield f"  acts: {_pairs(entry['acts'])}"
        for key, reason in entry["inactive"].items():
            yield f"  does not act: {key} ({reason})"
        if entry["proposed"]:
            yield f"  proposed by the search: {', '.join(entry['proposed'])}"


def head(spec: SweepSpec) -> Iterator[str]:
    """How many trials, and the question."""
    yield f"{spec.name}: {size(spec)}, seeds {', '.join(map(str, spec.search.seeds))}"
    if spec.question:
        yield spec.question


def rest(spec: SweepSpec, host: str = "", confirming: Iterable[str] = ()) -> Iterator[str]:
    """How the search goes on, and what it needs.

    Args:
        host: a line about precision and device on this host.
        confirming: lines about what follows the search.
    """
    planned = plan(spec)
    if planned["proposed"]:
        count = planned["proposed"]
        plural = "s" if count > 1 else ""
        algorithm = f"{planned['algorithm']} (seed {spec.search.seed})"
        yield f"{count} further configuration{plural} proposed by {algorithm} over"
        for key, dimension in spec.space.items():
            conditions = [
                f"{name} is {' or '.join(map(str, values))}"
                for name, values in dimension.when.items()
            ]
            where = f", where {' and '.join(conditions)}" if conditions else ""
            yield f"  {key}: {dimension.describe()}{where}"
        yield from _method(spec)
        yield ""
    scheduler = spec.scheduler
    if scheduler.name == "none":
        yield "scheduler: none, every trial runs to its last epoch"
    else:
        yield (
            f"scheduler: {scheduler.name} stops weak trials on {_ranked_by(spec)} after "
            f"{scheduler.grace_epochs} epochs, keeping 1 of {scheduler.reduction_factor}"
        )
    yield from confirming
    resources = spec.resources
    yield (
        f"resources: {resources.cpu:g} cpu and {resources.gpu:g} gpu per trial, "
        f"at most {resources.max_concurrent} at once"
    )
    if host:
        yield host
    study = {"journal": "a file in the sweep's folder", "none": "none"}
    yield f"Optuna's study: {study.get(spec.tracking.study, 'a database')}"
    yield "nothing was started"


def _shares(spec: SweepSpec) -> list[Any]:
    """The choices that get `num_trials` configurations each; `[None]` without `search.per`."""
    per = spec.search.per
    return [None] if per is None else list(spec.space[per].choices or [])


def _tried(spec: SweepSpec) -> list[dict[str, Any]]:
    """The entries within `num_trials`, in their order."""
    per, limit = spec.search.per, spec.search.num_trials
    tried: list[dict[str, Any]] = []
    for entry in spec.enqueue:
        rivals = [other for other in tried if per is None or other[per] == entry[per]]
        if len(rivals) < limit:
            tried.append(entry)
    return tried


def _method(spec: SweepSpec) -> Iterator[str]:
    """How the algorithm works, and what it ignores."""
    search, space = spec.search, spec.space
    if search.per is not None:
        choices = space[search.per].describe()
        yield f"a separate search for each {search.per} ({choices}), in turn"
    if search.algorithm in ("tpe", "gp"):
        each = f" for each {search.per}" if search.per is not None else ""
        yield f"proposals are random until 10 configurations have ended{each}"
    if search.algorithm == "nsga2":
        yield f"generations of {search.population}, the first one random"
    if search.algorithm in ("gp", "nsga2") and spec.scheduler.name != "none":
        yield f"{search.algorithm} ignores the results of trials that {spec.scheduler.name} stops"
    if len(search.objectives) > 1:
        goals = ", ".join(f"{name} ({goal})" for name, goal in search.objectives.items())
        yield f"aims at the Pareto front of {goals}"


def _ranked_by(spec: SweepSpec) -> str:
    if spec.scheduler.rank == "fronts":
        return f"non-dominated fronts of {' and '.join(spec.search.objectives)}"
    return spec.scheduler.metric


def _acts(key: str, entry: dict[str, Any]) -> bool:
    return not {key, key.partition(".")[0]} & set(entry["inactive"])


def _pairs(mapping: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in _flat(mapping, ""))


def _flat(mapping: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Dotted keys and their values as text."""
    for key, value in mapping.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list):
            yield f"{prefix}{key}", f"[{', '.join(map(str, value))}]"
        else:
            yield f"{prefix}{key}", str(value)
