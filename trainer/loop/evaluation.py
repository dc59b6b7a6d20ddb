"""Predictions for each example, and the dev metrics.  Shapes: n examples of a split."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from trainer.config.task_choices import METRICS
from trainer.config.tasks import Task
from trainer.data.split import Split
from trainer.loop.task_metrics import metric_of
from trainer.model.heads import MultitaskModel
from trainer.model.losses import loss_of, task_loss


@dataclass(frozen=True)
class Predictions:
    """A task's predictions on one split, in the split's order.

    All arrays are float64 (n,).  Labels and loss of a test split are NaN.
    """

    task: Task
    labels: np.ndarray
    predictions: np.ndarray
    scores: np.ndarray
    loss: float

    @property
    def metric(self) -> float:
        return metric(self.task, self.predictions, self.labels)


def metric(task: Task, predictions: np.ndarray, labels: np.ndarray) -> float:
    """The task's metric of predictions (n,) against labels (n,)."""
    return metric_of(task).value(predictions, labels)


def overall(metrics: dict[str, float], tasks: list[Task]) -> dict[str, float]:
    """`dev_score` (P0 section 5; Pearson's r enters as (r + 1) / 2) and `dev_mean` (P1)."""
    scored = [task for task in tasks if task.scored]
    plain = [metrics[task.name] for task in scored]
    rescaled = [
        (value + 1) / 2 if METRICS[task.metric].signed else value
        for task, value in zip(scored, plain, strict=True)
    ]
    return {"dev_score": float(np.mean(rescaled)), "dev_mean": float(np.mean(plain))}


def evaluate(
    model: MultitaskModel,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    align: int,
) -> Predictions:
    """Predictions for a whole split, in batches of sentences with similar lengths.

    The tokens of a batch are filled up to a multiple of `align`.
    """
    order, output = _outputs(model, split, batch_size=batch_size, device=device, align=align)
    with torch.inference_mode():
        labels = torch.from_numpy(split.labels[order]).float().to(device)
        labelled = not torch.isnan(labels).any()
        loss = float(task_loss(split.task, output, labels)) if labelled else float("nan")
        prediction, score = loss_of(split.task).predict(output)
    back = _inverse(order)
    return Predictions(
        task=split.task,
        labels=split.labels,
        predictions=prediction.double().cpu().numpy()[back],
        scores=score.double().cpu().numpy()[back],
        loss=loss,
    )


def probabilities(
    model: MultitaskModel,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    align: int,
) -> np.ndarray:
    """Probabilities of all classes, float64 (n, classes), in the split's order.

    Of a regression the real values, float64 (n,).
    """
    order, output = _outputs(model, split, batch_size=batch_size, device=device, align=align)
    with torch.inference_mode():
        shares = loss_of(split.task).probabilities(output)
    return shares.double().cpu().numpy()[_inverse(order)]


def _outputs(
    model: MultitaskModel,
    split: Split,
    *,
    batch_size: int,
    device: torch.device,
    align: int,
) -> tuple[np.ndarray, torch.Tensor]:
    """The order of the examples by their lengths (n,), and the outputs in this order."""
    order = np.argsort(split.lengths, kind="stable")
    outputs: list[torch.Tensor] = []
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(order), batch_size):
            packed = split.packed(order[start : start + batch_size], align).to(device)
            outputs.append(model(split.task.name, packed))
        output = torch.cat(outputs)
    model.train(was_training)
    return order, output


def _inverse(order: np.ndarray) -> np.ndarray:
    """From the split's order to that of the outputs, (n,)."""
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return back


def predictions_file(predictions: dict[str, Predictions], splits: dict[str, Split]) -> bytes:
    """Parquet with the columns task, id, label, prediction, score: one row per dev example."""
    columns: dict[str, list[Any]] = {k: [] for k in ("task", "id", "label", "prediction", "score")}
    for name, predicted in predictions.items():
        columns["task"] += [name] * len(predicted.labels)
        columns["id"] += splits[name].column("id")
        columns["label"].append(predicted.labels)
        columns["prediction"].append(predicted.predictions)
        columns["score"].append(predicted.scores)
    table = {
        key: pa.array(np.concatenate(values) if key in ("label", "prediction", "score") else values)
        for key, values in columns.items()
    }
    table["task"] = table["task"].dictionary_encode()
    sink = io.BytesIO()
    pq.write_table(pa.table(table), sink, compression="zstd")
    return sink.getvalue()
