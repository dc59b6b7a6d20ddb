"""Which parameters matter for the score, and which for the minutes, as plain rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.compare.methods import Configuration, Method, counted_metric
from orchestrator.compare.statistics.speed_up import why_not_comparable
from orchestrator.ledger.labels import flatten

if TYPE_CHECKING:
    from orchestrator.compare.diagnostics.conflicts import Row

#: Keys that differ between configurations but are not parameters.
_NO_PARAMETERS = ("seed", "data.", "tasks")


def importances(methods: Iterable[Method], metric: str) -> list[Row]:
    """The `importance` of every `parameter` for a `target`: `metric`, or `minutes_per_epoch`.

    It measures how much a parameter's values among the best tenth of the configurations (at least
    five) differ from those among all (`orchestrator.search.importance`). The importances for a
    target add up to 1. Each configuration counts with its mean over seeds on the whole dev set.
    `low` and `high` are the ends of its 95 % interval. `chance` is the most that it reaches in a
    hundred shuffles of the values, where nothing matters.
    There are no rows for fewer than 20 configurations, nor for minutes that do not compare.

    Args:
        methods: those whose scores compare.
    """
    from orchestrator.search import uncertain_importances

    tried = {c.config_id: c for method in methods for c in method.candidates}
    params = [_params(each) for each in tried.values()]
    rows: list[Row] = []
    targets = [(metric, "max")]
    if not why_not_comparable(t for each in tried.values() for t in each.trials.values()):
        targets.append(("minutes_per_epoch", "min"))
    for target, direction in targets:
        values = [_value(each, target) for each in tried.values()]
        for name, found in uncertain_importances(params, values, direction).items():
            row: Row = {"target": target, "parameter": name, "importance": found.value}
            row |= {"low": found.low, "high": found.high, "chance": found.chance}
            rows.append(row | {"configurations": len(tried)})
    return rows


def _params(each: Configuration) -> dict[str, Any]:
    flat = dict(flatten(each.config.canonical()))
    return {key: value for key, value in flat.items() if not key.startswith(_NO_PARAMETERS)}


def _value(each: Configuration, target: str) -> float:
    if target == "minutes_per_epoch":
        return statistics.fmean(each.minutes(seed) for seed in each.trials)
    return statistics.fmean(counted_metric(trial, target) for trial in each.trials.values())
