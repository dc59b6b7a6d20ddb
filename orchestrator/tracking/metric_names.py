"""What an epoch's numbers are called in MLflow.

The names of `trainer.metrics` come first.  Every other number is called by its place in the record:
`epoch/gradient_norm`, `tasks/sst/updates`, `phases/round_robin/minutes`.
"""

from __future__ import annotations

import re

from trainer.metrics import EPOCH, TASK, Place, field_at

SCORE, MINUTES = EPOCH["dev_score"].mlflow, EPOCH["minutes_per_epoch"].mlflow
EXAMPLES = EPOCH["examples"].mlflow

#: MLflow's own limit.
_LONGEST = 250
#: What it refuses in a name; a colon, which it refuses on some systems.
_REFUSED = re.compile(r"[^\w.\- ]")


def metric_name(place: Place, metric: str = "metric") -> str:
    """The name of the number at this place; `metric` is what its task's metric is called."""
    field = field_at(place)
    if field is not None and field.mlflow:
        task = _part(place[1]) if place[0] == "tasks" else ""
        name = field.mlflow.format(task=task, metric=_part(metric), key=_part(place[-1]))
    else:
        above = () if place[0] in ("tasks", "phases") else ("epoch",)
        name = "/".join(map(_part, (*above, *place)))
    return name[:_LONGEST]


def dev_metric_name(task: str, metric: str) -> str:
    """The name of a task's metric on its dev set."""
    return TASK["dev_metric"].mlflow.format(task=task, metric=metric)


def _part(name: str) -> str:
    """One part of a name as MLflow takes it: `qqp|sst` becomes `qqp_sst`."""
    return "_" if name.strip(".") == "" else _REFUSED.sub("_", name)
