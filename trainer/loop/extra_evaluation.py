"""Scores a trained model on other examples than the dev sets of its epochs.

Training with `evaluate_at_end: all` and `orch evaluate` both come here, so a trial has the same
record either way.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import torch

from trainer.config import TrainConfig
from trainer.data.split import Split
from trainer.loop.evaluation import evaluate, overall, predictions_file, probabilities
from trainer.model.heads import MultitaskModel
from trainer.model.packing import alignment
from trainer.storage.provenance import device_name


@dataclass(frozen=True)
class Trained:
    """A trained model on its device, and the checkpoint that it is."""

    model: MultitaskModel
    config: TrainConfig
    device: torch.device
    precision: str
    epoch: int
    #: sha256 of the checkpoint's weights.
    weights: str

    def probabilities(self, split: Split) -> np.ndarray:
        """Probabilities of all classes, float64 (n, classes), or real values, float64 (n,)."""
        return probabilities(
            self.model,
            split,
            batch_size=self.config.eval_batch_size,
            device=self.device,
            align=alignment(self.device, self.model.encoder.dtype),
        )


def evaluate_trained(
    trained: Trained, splits: Mapping[str, Split], data: Mapping[str, Any]
) -> tuple[dict[str, Any], bytes]:
    """An evaluation's record and its predictions as Parquet (trainer.storage.evaluations).

    `dev_score` and `dev_mean` are null unless every scored task is there.

    Args:
        data: what the splits are, for the record.
    """
    config, started = trained.config, time.perf_counter()
    predictions = {
        name: evaluate(
            trained.model,
            split,
            batch_size=config.eval_batch_size,
            device=trained.device,
            align=alignment(trained.device, trained.model.encoder.dtype),
        )
        for name, split in splits.items()
    }
    metrics = {name: predicted.metric for name, predicted in predictions.items()}
    scores: dict[str, float | None] = {"dev_score": None, "dev_mean": None}
    if all(task.name in metrics for task in config.task_list if task.scored):
        scores |= overall(metrics, config.task_list)
    record = {
        "data": dict(data),
        "epoch": trained.epoch,
        "weights": trained.weights,
        "precision": trained.precision,
        **scores,
        "tasks": {
            name: {
                "metric": predicted.task.metric,
                "dev_metric": metrics[name],
                "dev_loss": predicted.loss if math.isfinite(predicted.loss) else None,
                "examples": len(predicted.labels),
            }
            for name, predicted in predictions.items()
        },
        "evaluation_minutes": (time.perf_counter() - started) / 60,
        "device": device_name(trained.device),
        "threads": torch.get_num_threads(),
        "finished_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }
    return record, predictions_file(predictions, dict(splits))
