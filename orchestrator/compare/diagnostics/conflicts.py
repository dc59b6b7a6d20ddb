"""Why methods differ, as plain rows: conflicts, utilisation, single tasks, progress."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.compare.methods import Configuration, Method

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord

Row = dict[str, Any]


def conflicts(methods: Iterable[Method]) -> list[Row]:
    """How often the gradients of tasks conflict, by method, epoch and phase.

    `conflict_share` is the share of task pairs whose gradients point against each other.
    `conflicts` is that share by pair, `cosines` the mean cosine by pair. All are means over the
    method's complete trials. `phase` is empty for the whole epoch. An epoch in which gradients
    were not kept separate has no row.
    """
    rows: list[Row] = []
    for method in methods:
        for epoch, records in _by_epoch(method.trials):
            parts: dict[str, list[Mapping[str, Any]]] = {"": records}
            for record in records:
                for phase in record.get("phases", ()):
                    parts.setdefault(str(phase.get("name", "")), []).append(phase)
            for phase, measured in parts.items():
                shares = _known(measured, "conflict_share")
                if not shares:
                    continue
                rows.append(
                    {
                        "method": method.name,
                        "epoch": epoch,
                        "phase": phase,
                        "trials": len(shares),
                        "conflict_share": _mean(shares),
                        "conflicts": _by_pair(measured, "conflicts"),
                        "cosines": _by_pair(measured, "cosines"),
                    }
                )
    return rows


def utilisation(methods: Iterable[Method]) -> list[Row]:
    """The share of each task's training set that an epoch saw (P0, Table 1), by method.

    `examples` counts what the epoch drew. Both are means over the complete trials.
    """
    return [
        {
            "method": method.name,
            "epoch": epoch,
            "task": task,
            **{
                key: _mean(_known(_inner(_inner(records, "tasks"), task), key))
                for key in ("utilisation", "examples")
            },
        }
        for method in methods
        for epoch, records in _by_epoch(method.trials)
        for task in records[0]["tasks"]
    ]


def against_single_task(methods: Iterable[Method], metric: str) -> list[Row]:
    """The metric of each method's best configuration minus that of the task alone, by task.

    The task alone is the best configuration of `single_task` on it. Both are means over seeds on
    the whole dev set. Without such a configuration there is no row.
    """
    methods = [method for method in methods if method.candidates]
    alone: dict[str, tuple[str, float]] = {}
    for method in methods:
        config = method.candidates[0].config
        task = config.train_task or config.tasks[0]
        if config.sampler == "single_task" and task in method.dev_tasks:
            top = best(method, task).mean(task, method.common)
            if task not in alone or top > alone[task][1]:
                alone[task] = method.name, top
    rows: list[Row] = []
    for method in methods:
        shown = best(method, metric)
        if shown.config.sampler == "single_task":
            continue
        for task in set(alone) & set(method.dev_tasks):
            value = shown.mean(task, method.common)
            baseline, single = alone[task]
            rows.append(
                {
                    "method": method.name,
                    "config_id": shown.config_id,
                    "task": task,
                    "metric": value,
                    "baseline": baseline,
                    "single_task": single,
                    "difference": value - single,
                }
            )
    return sorted(rows, key=lambda row: (row["method"], row["task"]))


def progress(trials: Iterable[tuple[str, TrialRecord]]) -> list[Row]:
    """Scores against the minutes of training, updates and examples so far, by trial and epoch.

    Args:
        trials: each with the name of its method.
    """
    rows = []
    for method, trial in trials:
        so_far = {"minutes": 0.0, "updates": 0, "examples": 0}
        for record in trial.records:
            so_far["minutes"] += record["minutes_per_epoch"]
            so_far["updates"] += record.get("updates") or 0
            so_far["examples"] += record["examples"]
            tasks = record["tasks"].items()
            rows.append(
                {
                    "method": method,
                    "config_id": trial.identity["config_id"],
                    "trial_id": trial.trial_id,
                    "seed": trial.config["seed"],
                    "epoch": record["epoch"],
                    **so_far,
                    "contended": record["contended"],
                    "dev_score": record["dev_score"],
                    "dev_mean": record["dev_mean"],
                    "tasks": {n: v["dev_metric"] for n, v in tasks if "dev_metric" in v},
                }
            )
    return rows


def best(method: Method, metric: str) -> Configuration:
    """The configuration with the best mean over seeds on the whole dev set."""
    return max(method.candidates, key=lambda each: each.mean(metric, method.common))


def _by_epoch(trials: Sequence[TrialRecord]) -> Iterator[tuple[int, list[Mapping[str, Any]]]]:
    """Every epoch with the records of all trials that have it."""
    for records in itertools.zip_longest(*(trial.records for trial in trials)):
        known = [record for record in records if record is not None]
        yield known[0]["epoch"], known


def _by_pair(measured: Sequence[Mapping[str, Any]], key: str) -> dict[str, float | None]:
    """The mean by pair of tasks over the records that have the pair."""
    values = _inner(measured, key)
    pairs = sorted({pair for each in values for pair in each})
    return {pair: _mean(_known(values, pair)) for pair in pairs}


def _inner(values: Iterable[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    return [value.get(key) or {} for value in values]


def _known(values: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    return [value[key] for value in values if value.get(key) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
