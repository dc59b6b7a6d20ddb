"""The errors of a trained model (confusion, bias, worst examples)."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.config.tasks import Task

if TYPE_CHECKING:  # the report reads the constants below and does not load torch
    from trainer.data.corpus import Corpus, Split
    from trainer.loop.evaluation import Predictions

#: How many of the worst examples are kept.
WORST = 20
#: Groups of examples by |prediction - label| of a similarity: upper edges (P0, Figure 4).
DISTANCES = {"close": 0.5, "near": 1.0, "far": 2.0, "opposite": float("inf")}


def analysis_file(predictions: dict[str, Predictions], corpus: Corpus) -> bytes:
    """analysis.json: task -> `analyse`."""
    tasks = {
        name: analyse(predicted, corpus.splits[name]["train"], corpus.splits[name]["dev"])
        for name, predicted in predictions.items()
    }
    return (json.dumps(tasks, indent=1) + "\n").encode()


def analyse(predicted: Predictions, train: Split, dev: Split) -> dict[str, Any]:
    """One task's dev errors.

    - `over`, `under`: the share of examples predicted above and below their label (P3).
    - `confusion` of classes: a row for each true label, which adds up to 1; `label_share`: their
      shares in the training set (P0, Figures 2 and 3).
    - `false_positives`, `false_negatives` of binary tasks: shares of all examples.
    - `distance` of regressions: the share of each group of `DISTANCES`.
    - `worst`: the largest errors, with their text.
    """
    task, difference = predicted.task, predicted.predictions - predicted.labels
    analysis: dict[str, Any] = {
        "over": float(np.mean(difference > 0)),
        "under": float(np.mean(difference < 0)),
    }
    if task.integer_labels:
        classes = range(int(task.label_bounds[1]) + 1)
        counts = Counter(train.labels.astype(int).tolist())
        analysis["label_share"] = [counts[label] / len(train) for label in classes]
        analysis["confusion"] = [_confusion_row(predicted, label, classes) for label in classes]
    else:
        groups = np.searchsorted(list(DISTANCES.values()), np.abs(difference))
        analysis["distance"] = {
            name: float(np.mean(groups == number)) for number, name in enumerate(DISTANCES)
        }
    if task.integer_labels and task.label_bounds[1] == 1:
        analysis["false_positives"] = analysis["over"]
        analysis["false_negatives"] = analysis["under"]
    return analysis | {"worst": _worst(task, predicted, dev)}


def _confusion_row(predicted: Predictions, label: int, classes: range) -> list[float]:
    chosen = predicted.predictions[predicted.labels == label]
    return [float(np.mean(chosen == other)) if len(chosen) else 0.0 for other in classes]


def _worst(task: Task, predicted: Predictions, dev: Split) -> list[dict[str, Any]]:
    """Wrong examples, the largest error first.  Of equal errors the most confident comes first."""
    from trainer.model.losses import loss_of  # loads torch

    distance = np.abs(predicted.predictions - predicted.labels)
    confidence = loss_of(task).confidence(predicted.scores)
    order = np.lexsort((-confidence, -distance))[:WORST]
    ids = dev.column("id")
    texts = [dev.column(f"text{number + 1}") for number in range(len(task.columns))]
    return [
        {
            "id": ids[index],
            "text": [column[index] for column in texts],
            "label": float(predicted.labels[index]),
            "prediction": float(predicted.predictions[index]),
            "score": float(predicted.scores[index]),
        }
        for index in order
        if distance[index] > 0
    ]
