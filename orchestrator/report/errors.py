"""The errors of one trained model, from its dev predictions and its analysis.json."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from orchestrator.compare.statistics.dev_predictions import PredictionsError, read_columns
from trainer.config.tasks import Task
from trainer.loop.error_analysis import WORST, confusion_counts, distance_groups
from trainer.storage.folder import StoreError

if TYPE_CHECKING:
    from orchestrator.ledger import Ledger, TrialRecord

_FILE = "analysis.json"


class WorstError(BaseModel):
    """One of the largest errors; `text` holds one or two sentences, none if unknown."""

    model_config = ConfigDict(extra="ignore")

    id: str
    text: list[str] = []
    label: float
    prediction: float


class Analysis(BaseModel):
    """The part that the report reads of what `trainer.loop.error_analysis` writes about a task."""

    model_config = ConfigDict(extra="ignore")

    label_share: list[float] | None = None
    worst: list[WorstError] = []


@dataclass(frozen=True)
class TaskErrors:
    """One task's dev predictions of one trial; labels and predictions are (n,).

    Attributes:
        label_share: the share of each class in the training set; None if unknown.
        text_problem: why the worst errors have no text; empty if they have it.
    """

    task: Task
    labels: np.ndarray
    predictions: np.ndarray
    label_share: list[float] | None
    worst: list[WorstError]
    text_problem: str

    @property
    def classes(self) -> int:
        return int(self.task.label_bounds[1]) + 1

    def confusion(self) -> np.ndarray:
        """(classes, classes) counts; row: true label, column: prediction (P0, Figures 2 and 3)."""
        return confusion_counts(self.labels, self.predictions, self.classes)

    def distances(self) -> dict[str, np.ndarray]:
        """Group by L1 distance of prediction and label -> mask of examples (n,) (P0, Figure 4)."""
        return distance_groups(self.task, self.predictions - self.labels)

    def bias(self) -> tuple[int, int, int]:
        """Examples predicted below their label, at it, above it (P3, Figures 4 and 5)."""
        difference = self.predictions - self.labels
        below, above = int((difference < 0).sum()), int((difference > 0).sum())
        return below, len(difference) - below - above, above


@dataclass(frozen=True)
class TrialErrors:
    """The errors in all tasks of a trial's epoch that counts; `problem` says why there are none."""

    trial: TrialRecord
    tasks: list[TaskErrors]
    problem: str = ""


def read_errors(ledger: Ledger, trial: TrialRecord) -> TrialErrors:
    """Read the predictions of a trial's epoch that counts."""
    if not trial.records:
        return TrialErrors(trial, [], "it has no epoch")
    try:
        columns = read_columns(ledger, trial)
    except PredictionsError as error:
        return TrialErrors(trial, [], str(error))
    analyses, problem = _analyses(ledger, trial)
    if trial.score != trial.train_config.score:
        problem = f"{_FILE} is of the {trial.train_config.score} epoch"
        analyses = {name: each.model_copy(update={"worst": []}) for name, each in analyses.items()}
    tasks = []
    for task in trial.train_config.task_list:
        if task.name not in columns:
            continue  # an auxiliary task without a dev set
        ids, labels, predictions = _numbers(columns[task.name])
        if not len(labels):
            continue
        analysis = analyses.get(task.name, Analysis())
        written = analysis.worst
        worst = written or _worst(ids, labels, predictions)
        no_text = "" if written or not worst else problem or f"{_FILE} lacks {task.name}"
        shares = analysis.label_share
        if task.integer_labels and len(shares or []) != int(task.label_bounds[1]) + 1:
            shares = None
        tasks.append(TaskErrors(task, labels, predictions, shares, worst, no_text))
    return TrialErrors(trial, tasks, "" if tasks else "it predicts no task")


def _numbers(columns: dict[str, Any]) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Ids, labels and predictions of the examples where label and prediction are numbers."""
    labels, predictions = (columns[key].to_numpy() for key in ("label", "prediction"))
    there = np.isfinite(labels) & np.isfinite(predictions)
    ids = [str(name) for name, is_there in zip(columns["id"].to_pylist(), there, strict=True)
           if is_there]  # fmt: skip
    return ids, labels[there], predictions[there]


def _worst(ids: list[str], labels: np.ndarray, predictions: np.ndarray) -> list[WorstError]:
    """Wrong examples, the largest distance first, without their text."""
    distance = np.abs(predictions - labels)
    order = np.argsort(-distance, kind="stable")[:WORST]
    return [
        WorstError(id=ids[n], label=float(labels[n]), prediction=float(predictions[n]))
        for n in order
        if distance[n] > 0
    ]


def _analyses(ledger: Ledger, trial: TrialRecord) -> tuple[dict[str, Analysis], str]:
    """Task -> its analysis, and why there is none."""
    if trial.status != "complete":
        return {}, f"only a complete trial has {_FILE}, and this one is {trial.status}"
    try:
        content = ledger.directory(trial.trial_id).read(_FILE)
    except (OSError, StoreError) as error:
        return {}, f"{_FILE} cannot be read: {getattr(error, 'strerror', None) or error}"
    if content is None:
        return {}, f"{_FILE} is missing"
    try:
        return TypeAdapter(dict[str, Analysis]).validate_json(content), ""
    except ValidationError as error:
        first = error.errors()[0]
        return {}, f"{_FILE} cannot be read: {first['msg']}"
