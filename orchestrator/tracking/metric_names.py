"""The names of an epoch's numbers in MLflow.

`trainer.metrics` names some of them.  The name of every other number follows its place in the
record: `epoch/gradient_norm`, `tasks/sst/gradient_norm`, `phases/round_robin/minutes`.
"""

from __future__ import annotations

from orchestrator.tracking.limits import NAME, part_of_name
from trainer.metrics import EPOCH, TASK, Place, field_at

SCORE, MEAN = EPOCH["dev_score"].mlflow, EPOCH["dev_mean"].mlflow
EXAMPLES = EPOCH["examples"].mlflow
#: The mean over the epochs until then: a trial's newest one is what `orch show` prints.  An epoch's
#: own minutes are `EPOCH_MINUTES`.
MINUTES, EPOCH_MINUTES = "time/minutes_per_epoch", EPOCH["minutes_per_epoch"].mlflow


def metric_name(place: Place, metric: str = "metric") -> str:
    """The name of the number at this place; `metric` is the name of its task's metric."""
    field = field_at(place)
    if field is not None and field.mlflow:
        task = part_of_name(place[1]) if place[0] == "tasks" else ""
        name = field.mlflow.format(
            task=task, metric=part_of_name(metric), key=part_of_name(place[-1])
        )
    else:
        above = () if place[0] in ("tasks", "phases") else ("epoch",)
        name = "/".join(map(part_of_name, (*above, *place)))
    return name[:NAME]


def dev_metric_name(task: str, metric: str) -> str:
    """The name of a task's metric on its dev set."""
    return TASK["dev_metric"].mlflow.format(task=task, metric=metric)
