"""Evaluations on the whole dev sets, written without a model."""

from __future__ import annotations

from typing import Any

from tests.support.simulated import Predictions, World, predictions_file
from trainer.config import TrainConfig
from trainer.loop.evaluation import metric, overall
from trainer.storage.evaluations import ALL, write_evaluation
from trainer.storage.trial_directory import TrialDirectory


def write_all(
    directory: TrialDirectory, world: World, predictions: Predictions, name: str = ALL
) -> dict[str, Any]:
    """Write a trial's evaluation with these predictions; return its record."""
    config = TrainConfig.from_dict((directory.config() or {})["config"])
    tasks = [task for task in config.task_list if task.name in predictions]
    metrics = {t.name: metric(t, predictions[t.name], world.labels[t.name]) for t in tasks}
    records = directory.records()
    record = {
        "data": {"dev": ALL},
        "epoch": len(records),
        "weights": "w",
        "precision": "fp32",
        **overall(metrics, tasks),
        "tasks": {
            task.name: {
                "metric": task.metric, "dev_metric": metrics[task.name], "dev_loss": 1.0,
                "examples": len(predictions[task.name]),
            }
            for task in tasks
        },
        "evaluation_minutes": 0.1,
    }  # fmt: skip
    return write_evaluation(directory, name, record, predictions_file(world, predictions))
