"""The predictions of every trial of a comparison for the same dev examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from orchestrator.compare.methods import counted_metric
from orchestrator.ledger.predictions import PredictionsError, read_predictions
from trainer.config.tasks import Task
from trainer.loop.task_metrics import metric_of

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.ledger import Ledger, TrialRecord

__all__ = ["DevSet", "PredictionsError", "read_columns"]

_READERS = 8
#: Fewer dev examples of a task cannot be halved.
_FEWEST = 4
#: The largest difference between a metric computed from predictions and the recorded one.
_ROUNDING = 1e-6


@dataclass
class DevSet:
    """The dev examples of every task and the outcomes of trials on them.

    Attributes:
        labels: (n,) of every task.
        outcomes: trial id -> (n,) of every task: what its metric needs of the predictions
            (`TaskMetric.outcomes`), such as right or wrong.
    """

    tasks: list[Task] = field(default_factory=list)
    labels: list[np.ndarray] = field(default_factory=list)
    outcomes: dict[str, list[np.ndarray]] = field(default_factory=dict)
    _ids: list[pa.Array] = field(default_factory=list)

    @property
    def sizes(self) -> list[int]:
        return [len(labels) for labels in self.labels]

    def read(self, ledger: Ledger, trials: Iterable[TrialRecord]) -> None:
        """Add the predictions after the trials' epochs that count. Raises `PredictionsError`."""
        wanted = [trial for trial in trials if trial.trial_id not in self.outcomes]
        with ThreadPoolExecutor(_READERS) as readers:
            for trial, columns in zip(
                wanted, readers.map(lambda t: read_columns(ledger, t), wanted), strict=True
            ):
                self._add(trial, columns)

    def stacked(self, trial_ids: Sequence[str], task: int) -> np.ndarray:
        """The outcomes (trials, n) of one task."""
        return np.stack([self.outcomes[trial_id][task] for trial_id in trial_ids])

    def metrics(self, trial_ids: Sequence[str]) -> np.ndarray:
        """The whole dev set's metrics (trials, tasks)."""
        return np.stack(
            [
                _metric(task, self.stacked(trial_ids, k), self.labels[k])
                for k, task in enumerate(self.tasks)
            ],
            axis=-1,
        )

    def _add(self, trial: TrialRecord, columns: dict[str, dict[str, Any]]) -> None:
        scored = trial.records[-1]["tasks"]
        tasks = [t for t in trial.train_config.task_list if "dev_metric" in scored.get(t.name, {})]
        names = [task.name for task in tasks]
        missing = [name for name in names if name not in columns]
        if missing or not names:
            raise PredictionsError(
                f"{trial.trial_id}: no predictions of {', '.join(missing) or 'any task'}"
            )
        few = [name for name in names if len(columns[name]["id"]) < _FEWEST]
        if few:
            raise PredictionsError(f"{trial.trial_id}: too few dev examples of {', '.join(few)}")
        if not self.tasks:
            self.tasks = tasks
            self.labels = [columns[name]["label"].to_numpy() for name in names]
            self._ids = [columns[name]["id"] for name in names]
        if [task.name for task in self.tasks] != names:
            raise PredictionsError(f"{trial.trial_id}: predicts other tasks than the other trials")
        outcomes = []
        for task, labels, ids in zip(self.tasks, self.labels, self._ids, strict=True):
            own = columns[task.name]
            if own["id"] != ids or not np.array_equal(own["label"].to_numpy(), labels):
                raise PredictionsError(f"{trial.trial_id}: other dev examples of {task.name}")
            outcomes.append(metric_of(task).outcomes(own["prediction"].to_numpy(), labels))
            computed = _metric(task, outcomes[-1][None], labels)[0]
            recorded = counted_metric(trial, task.name)
            if not abs(computed - recorded) < _ROUNDING:
                raise PredictionsError(
                    f"{trial.trial_id}: its predictions of {task.name} give {computed:.6f}, its "
                    f"record says {recorded:.6f}"
                )
        self.outcomes[trial.trial_id] = outcomes


def _metric(task: Task, outcomes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The metric (trials,) on the whole dev set, from outcomes (trials, n)."""
    weighted: np.ndarray = metric_of(task).weighted(np.ones((1, len(labels))), outcomes, labels)
    return weighted[0]


def read_columns(ledger: Ledger, trial: TrialRecord) -> dict[str, dict[str, Any]]:
    """Task -> columns id, label and prediction after the epoch that counts.

    They are those on which `counted_metric` is computed. Raises `PredictionsError`.
    """
    table = read_predictions(ledger, trial)
    tasks = table["task"].chunk(0).dictionary_encode()
    codes = tasks.indices.to_numpy()
    by_task = {}
    for code, task in enumerate(tasks.dictionary.to_pylist()):
        rows = np.flatnonzero(codes == code)
        adjacent = rows[-1] - rows[0] + 1 == len(rows)
        part = table.slice(int(rows[0]), len(rows)) if adjacent else table.take(rows)
        by_task[task] = {key: part[key].combine_chunks() for key in ("id", "label", "prediction")}
    return by_task
