"""The errors of a trained model (confusion, bias, worst examples)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.config.tasks import Task

if TYPE_CHECKING:  # the report reads the constants below and does not load torch
    from trainer.data.corpus import Corpus
    from trainer.data.split import Split
    from trainer.loop.evaluation import Predictions

#: How many of the worst examples are kept.
WORST = 20
#: Groups of examples by |prediction - label| of a regression: upper edges, as shares of the range
#: of the labels.  On 0..5 they are 0.5, 1 and 2 (P0, Figure 4).
DISTANCES = {"close": 0.1, "near": 0.2, "far": 0.4, "opposite": float("inf")}
#: A task with more classes has the most frequent confusions instead of all.
MOST_CLASSES = 50


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
    - `class_names` of classes, and `confusion`: a row for each true label, which adds up to 1;
      `label_share`: their shares in the training set (P0, Figures 2 and 3).  With more than
      `MOST_CLASSES` classes, `confused` has the most frequent confusions instead.
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
        analysis["class_names"] = list(task.class_names)
        counted = confusion_counts(predicted.labels, predicted.predictions, len(classes))
        if len(classes) > MOST_CLASSES:
            analysis["confused"] = most_confused(counted, task.class_names, WORST)
        else:
            totals = np.maximum(counted.sum(axis=1, keepdims=True), 1)
            analysis["confusion"] = (counted / totals).tolist()
    else:
        groups = distance_groups(task, difference)
        analysis["distance"] = {name: float(np.mean(there)) for name, there in groups.items()}
    if task.integer_labels and task.label_bounds[1] == 1:
        analysis["false_positives"] = analysis["over"]
        analysis["false_negatives"] = analysis["under"]
    return analysis | {"worst": _worst(task, predicted, dev)}


def distance_edges(task: Task) -> dict[str, float]:
    """Group of `DISTANCES` -> its upper edge, in the unit of the task's labels."""
    low, high = task.label_bounds
    return {name: share * (high - low) for name, share in DISTANCES.items()}


def distance_groups(task: Task, difference: np.ndarray) -> dict[str, np.ndarray]:
    """Group of `DISTANCES` -> mask (n,) of the examples with such a difference (n,)."""
    groups = np.searchsorted(list(distance_edges(task).values()), np.abs(difference))
    return {name: groups == number for number, name in enumerate(DISTANCES)}


def confusion_counts(labels: np.ndarray, predictions: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts, from (n,); row: true label, column: prediction.  Numbers that are
    no class are left out."""
    counts = np.zeros((classes, classes), dtype=np.int64)
    pairs = labels.astype(int), predictions.astype(int)
    known = [(each >= 0) & (each < classes) for each in pairs]
    there = known[0] & known[1]
    np.add.at(counts, (pairs[0][there], pairs[1][there]), 1)
    return counts


def most_confused(counts: np.ndarray, names: Sequence[str], most: int) -> list[dict[str, Any]]:
    """The most frequent wrong pairs of true and predicted class, with their number."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = [np.unravel_index(each, wrong.shape) for each in order]
    return [
        {"true": names[row], "predicted": names[column], "examples": int(wrong[row, column])}
        for row, column in places
        if wrong[row, column]
    ]


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
