"""Which parameters decide about the score, and which about the minutes.  Plain rows."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from orchestrator.compare.methods import Configuration, Method, last_metric
from orchestrator.compare.statistics.speed_up import why_not_comparable
from orchestrator.ledger.labels import flatten

if TYPE_CHECKING:
    from orchestrator.compare.diagnostics.conflicts import Row

#: What differs between configurations and is no parameter.
_APART = ("seed", "data.", "tasks")


def importances(methods: Iterable[Method], metric: str) -> list[Row]:
    """Per `target` (the metric in question, `minutes_per_epoch`) and `parameter` its `importance`,
    which add up to 1 over a target, among so many `configurations`.

    How much a parameter's values among the best tenth of the configurations, at least five, differ
    from those among all (`orchestrator.search.importance`); with fewer than 20 configurations there
    are no rows, and none of minutes that do not compare.  Each configuration counts with the mean
    over its seeds on the whole dev set.

    Args:
        methods: whose scores compare.
    """
    from orchestrator.search import importances as of

    tried = {c.config_id: c for method in methods for c in method.candidates}
    params = [_params(each) for each in tried.values()]
    found: list[Row] = []
    targets = [(metric, "max")]
    if not why_not_comparable(t for each in tried.values() for t in each.trials.values()):
        targets.append(("minutes_per_epoch", "min"))
    for target, direction in targets:
        values = [_value(each, target) for each in tried.values()]
        for name, importance in of(params, values, direction).items():
            row: Row = {"target": target, "parameter": name, "importance": importance}
            found.append(row | {"configurations": len(tried)})
    return found


def _params(each: Configuration) -> dict[str, Any]:
    flat = dict(flatten(each.config.canonical()))
    return {key: value for key, value in flat.items() if not key.startswith(_APART)}


def _value(each: Configuration, target: str) -> float:
    if target == "minutes_per_epoch":
        return statistics.fmean(each.minutes(seed) for seed in each.trials)
    return statistics.fmean(last_metric(trial, target) for trial in each.trials.values())
