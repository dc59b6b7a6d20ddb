"""How much too high the best epoch's scores are, because they also chose the epoch.

Efron's bootstrap (Efron 1983, "Estimating the error rate of a prediction rule", section 7): each
draw of dev examples chooses its own best epoch, and the optimism is the mean of that epoch's score
on the draw minus its score on all examples.  Where epochs are equally good, the epochs' chance
differences on the dev set hold the draws back, and this finds 0.7 of the optimism.  So the
bootstrap is iterated twice (Hall 1992, "The Bootstrap and Edgeworth Expansion", section 1.4): draws
from the draws show how much is missed.  tests/trainer/loop/test_optimism.py simulates the bias.

Shapes: e epochs, n examples of a task, w draws, K tasks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from trainer.config.task_choices import METRICS
from trainer.config.tasks import Task
from trainer.loop.task_metrics import metric_of
from trainer.metrics import Record
from trainer.storage.folder import Refused
from trainer.storage.prediction_file import PredictionFileError, read_prediction_file
from trainer.storage.trial_directory import TrialDirectory, predictions_name

_DRAWS = 1000
#: Draws of draws: the optimism is 3 o_1 - 3 o_2 + o_3 of the optimism o_i at depth i.
_ITERATED = (3.0, -3.0, 1.0)
#: So many epochs with the highest dev_score can be the best one of a draw.
_EPOCHS = 50
#: Weights in memory at once.
_WEIGHTS = 4_000_000


@dataclass(frozen=True)
class TaskScores:
    """One task's dev examples: `labels` (n,), and the `outcomes` (e, n) of its metric."""

    task: Task
    labels: np.ndarray
    outcomes: np.ndarray


def optimism_of_trial(
    store: TrialDirectory, records: Sequence[Record], tasks: Sequence[Task]
) -> dict[str, Any]:
    """The optimism of a trial's best epoch, for the summary in end.json.

    `dev_score`, `dev_mean`, and `tasks` with each task's metric.  Empty if the predictions of an
    epoch are missing or cannot be read.
    """
    best = sorted(records, key=lambda record: -record["dev_score"])[:_EPOCHS]
    epochs = sorted(int(record["epoch"]) for record in best)
    try:
        tables = [_predictions(store, epoch) for epoch in epochs]
    except (OSError, KeyError, Refused, PredictionFileError):
        return {}
    scores = []
    for task in tasks:
        parts = [table[task.name] for table in tables if task.name in table]
        if parts and len(parts) == len(tables) and task.scored:
            labels, metric = parts[0][0], metric_of(task)
            outcomes = np.stack([metric.outcomes(each[1], labels) for each in parts])
            scores.append(TaskScores(task, labels, outcomes))
    return optimism(scores) if scores else {}


def optimism(scores: Sequence[TaskScores], draws: int = _DRAWS, seed: int = 0) -> dict[str, Any]:
    """By how much the best epoch's scores are too high: `dev_score`, `dev_mean`, `tasks`."""
    rng = np.random.default_rng(seed)
    depth = len(_ITERATED)
    whole = [
        metric_of(each.task).weighted(np.ones((1, len(each.labels))), each.outcomes, each.labels)
        for each in scores
    ]
    # (1 + depth, w, e, K): on all examples, on draws, on draws of draws, ...
    metrics = np.stack(
        [
            np.concatenate([np.broadcast_to(one, (1, draws, one.shape[1])), drawn])
            for one, drawn in zip(
                whole, (_drawn(s, draws, depth, rng) for s in scores), strict=True
            )
        ],
        axis=-1,
    )
    signed = np.array([METRICS[each.task.metric].signed for each in scores])
    score = np.where(signed, (metrics + 1) / 2, metrics).mean(-1)  # (1 + depth, w, e)
    all_scores = np.concatenate([score[..., None], metrics.mean(-1)[..., None], metrics], axis=-1)
    best = score[1:].argmax(-1)[..., None, None]  # (depth, w, 1, 1), the first of equals
    change = all_scores[1:] - all_scores[:-1]  # (depth, w, e, 2 + K)
    # The mean change of all epochs is the chance of the examples, which chooses nothing.
    change = np.take_along_axis(change, best, axis=2)[:, :, 0] - change.mean(2)
    values = [float(each) for each in np.array(_ITERATED) @ change.mean(1)]
    by_task = {each.task.name: value for each, value in zip(scores, values[2:], strict=True)}
    return {"dev_score": values[0], "dev_mean": values[1], "tasks": by_task}


def _drawn(scores: TaskScores, draws: int, depth: int, rng: np.random.Generator) -> np.ndarray:
    """The metric (depth, w, e) on draws, on draws of those, and so on."""
    metric, size = metric_of(scores.task), len(scores.labels)
    result = np.empty((depth, draws, len(scores.outcomes)))
    rows = max(1, _WEIGHTS // size)
    for start in range(0, draws, rows):
        count = min(rows, draws - start)
        examples = np.broadcast_to(np.arange(size), (count, size))  # (w, n)
        for level in range(depth):
            chosen = rng.integers(0, size, (count, size))
            examples = np.take_along_axis(examples, chosen, axis=1)
            weights = multiplicities(examples, size).astype(metric.weight_type)
            drawn = metric.weighted(weights, scores.outcomes, scores.labels)
            result[level, start : start + count] = drawn
    return result


def multiplicities(examples: np.ndarray, size: int) -> np.ndarray:
    """How often each of `size` examples is in each row of `examples` (w, n); (w, size)."""
    places = examples + np.arange(len(examples))[:, None] * size
    return np.bincount(places.ravel(), minlength=len(examples) * size).reshape(-1, size)


def _predictions(store: TrialDirectory, epoch: int) -> Mapping[str, tuple[np.ndarray, np.ndarray]]:
    """Task -> labels and predictions (n,) after an epoch.  Raises `KeyError` without them."""
    content = store.read(predictions_name(epoch))
    if content is None:
        raise KeyError(predictions_name(epoch))
    table = read_prediction_file(content)
    names = np.asarray(table["task"].to_pylist())
    columns = [table[key].to_numpy() for key in ("label", "prediction")]
    return {
        str(name): (columns[0][names == name], columns[1][names == name])
        for name in np.unique(names)
    }
