"""Why methods differ, in numbers: conflicts, utilisation, single tasks, progress.  Plain rows."""

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
    """Per method and epoch: `conflict_share` of task pairs with opposed gradients, `conflicts`
    (that share) and `cosines` by pair, means over its complete trials; and the same by `phase`
    where trials record that.

    `phase` is empty for the whole epoch.  Epochs without gradients kept apart have no row.
    """
    found: list[Row] = []
    for method in methods:
        for epoch, records in _by_epoch(method.trials):
            parts: dict[str, list[Mapping[str, Any]]] = {"": records}
            for record in records:
                for phase in record.get("phases", ()):
                    parts.setdefault(str(phase.get("name", "")), []).append(phase)
            for phase, measured in parts.items():
                shares = _there(measured, "conflict_share")
                if not shares:
                    continue
                row: Row = {"method": method.name, "epoch": epoch, "phase": phase}
                row |= {"trials": len(shares), "conflict_share": _mean(shares)}
                found.append(row | {k: _by_pair(measured, k) for k in ("conflicts", "cosines")})
    return found


def utilisation(methods: Iterable[Method]) -> list[Row]:
    """Per method, task and epoch: the share of its training set that the epoch saw (P0, Table 1),
    and how many examples it drew; means over the complete trials."""
    return [
        {
            "method": method.name,
            "epoch": epoch,
            "task": task,
            "utilisation": _mean(_there(_inner(_inner(records, "tasks"), task), "utilisation")),
            "examples": _mean(_there(_inner(_inner(records, "tasks"), task), "examples")),
        }
        for method in methods
        for epoch, records in _by_epoch(method.trials)
        for task in records[0]["tasks"]
    ]


def against_single_task(methods: Iterable[Method], metric: str) -> list[Row]:
    """Per method and task: its best configuration's metric less that of the task alone.

    The task alone is the best configuration of `single_task` on it; both are means over seeds on
    the whole dev set.  Empty without such a baseline.
    """
    methods = [method for method in methods if method.candidates]
    alone: dict[str, tuple[str, float]] = {}
    for method in methods:
        config = method.candidates[0].config
        task = config.train_task or config.tasks[0]
        if config.sampler == "single_task" and task in method.dev_tasks:
            top = best(method, task).mean(task, method.seeds)
            if task not in alone or top > alone[task][1]:
                alone[task] = method.name, top
    found: list[Row] = []
    for method in methods:
        shown = best(method, metric)
        if shown.config.sampler == "single_task":
            continue
        for task in set(alone) & set(method.dev_tasks):
            value = shown.mean(task, method.seeds)
            baseline, single = alone[task]
            row: Row = {"method": method.name, "config_id": shown.config_id, "task": task}
            row |= {"metric": value, "baseline": baseline, "single_task": single}
            found.append(row | {"difference": value - single})
    return sorted(found, key=lambda row: (row["method"], row["task"]))


def progress(trials: Iterable[TrialRecord], methods: Mapping[str, str]) -> list[Row]:
    """Per trial and epoch: scores against minutes of training, updates and examples so far.

    Args:
        methods: trial id -> the name of its method.
    """
    found = []
    for trial in trials:
        so_far = {"minutes": 0.0, "updates": 0, "examples": 0}
        for record in trial.records:
            so_far["minutes"] += record["minutes_per_epoch"]
            so_far["updates"] += record.get("updates") or 0
            so_far["examples"] += record["examples"]
            tasks = record["tasks"].items()
            found.append(
                {
                    "method": methods[trial.trial_id],
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
    return found


def best(method: Method, metric: str) -> Configuration:
    """The configuration that looks best on the whole dev set."""
    return max(method.candidates, key=lambda each: each.mean(metric, method.seeds))


def _by_epoch(trials: Sequence[TrialRecord]) -> Iterator[tuple[int, list[Mapping[str, Any]]]]:
    """The records of every epoch, trials with fewer epochs left out where they have none."""
    for records in itertools.zip_longest(*(trial.records for trial in trials)):
        there = [record for record in records if record is not None]
        yield there[0]["epoch"], there


def _by_pair(measured: Sequence[Mapping[str, Any]], key: str) -> dict[str, float | None]:
    """The mean of every pair of tasks over the records that have it."""
    values = _inner(measured, key)
    pairs = sorted({pair for each in values for pair in each})
    return {pair: _mean(_there(values, pair)) for pair in pairs}


def _inner(values: Iterable[Mapping[str, Any]], key: str) -> list[Mapping[str, Any]]:
    return [value.get(key) or {} for value in values]


def _there(values: Iterable[Mapping[str, Any]], key: str) -> list[float]:
    return [value[key] for value in values if value.get(key) is not None]


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None
