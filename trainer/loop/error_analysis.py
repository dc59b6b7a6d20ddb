"""Where a trained model errs: confusion, bias, the worst examples; and the leaderboard's files."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from trainer.config.choices import LOSSES
from trainer.config.tasks import Task

if TYPE_CHECKING:  # the groups and limits below are read where no torch is loaded
    from trainer.data.corpus import Corpus, Split
    from trainer.loop.evaluation import Predictions

WORST = 20
#: Upper edges of the groups by L1 distance of a predicted from a true similarity (P0, Figure 4).
DISTANCES = {"close": 0.5, "near": 1.0, "far": 2.0, "opposite": float("inf")}
#: Header of the course's submission files, its spelling included; others: the label's column.
_COLUMNS = {
    "sst": "Predicted_Sentiment",
    "cfimdb": "Predicted_Sentiment",
    "qqp": "Predicted_Is_Paraphrase",
    "sts": "Predicted_Similiary",
}


def leaderboard_file(made: Predictions, split: Split) -> bytes:
    """Test predictions as the CS224N leaderboard takes them: `id \\t column`, `id , value` lines.

    Classes are whole numbers, except that the course writes a paraphrase as 0.0 or 1.0.
    """
    task = made.task
    whole = LOSSES[task.loss].output_per_class
    lines = [f"id \t {_COLUMNS.get(task.name, f'Predicted_{task.label}')} \n"]
    for example, value in zip(split.column("id"), made.predictions.tolist(), strict=True):
        lines.append(f"{example} , {int(value) if whole else value} \n")
    return "".join(lines).encode()


def analysis_file(made: dict[str, Predictions], corpus: Corpus) -> bytes:
    """analysis.json: task -> `analyse`."""
    found = {
        name: analyse(predictions, corpus.splits[name]["train"], corpus.splits[name]["dev"])
        for name, predictions in made.items()
    }
    return (json.dumps(found, indent=1) + "\n").encode()


def analyse(made: Predictions, train: Split, dev: Split) -> dict[str, Any]:
    """One task's dev errors.

    `over`/`under`: share of examples predicted above/below their label (P3).  Classes add
    `confusion` (row: true label, normalised to 1) beside the training set's `label_share` (P0,
    Figures 2 and 3); binary tasks `false_positives`/`false_negatives` (shares of all); a
    regression adds `distance` (share of each group).  `worst`: the gravest errors as text.
    """
    task, difference = made.task, made.predictions - made.labels
    found: dict[str, Any] = {
        "over": float(np.mean(difference > 0)),
        "under": float(np.mean(difference < 0)),
    }
    if task.integer_labels:
        classes = range(int(task.label_bounds[1]) + 1)
        counts = Counter(train.labels.astype(int).tolist())
        found["label_share"] = [counts[label] / len(train) for label in classes]
        found["confusion"] = [_row(made, label, classes) for label in classes]
    else:
        groups = np.searchsorted(list(DISTANCES.values()), np.abs(difference))
        found["distance"] = {
            name: float(np.mean(groups == number)) for number, name in enumerate(DISTANCES)
        }
    if task.integer_labels and task.label_bounds[1] == 1:
        found["false_positives"], found["false_negatives"] = found["over"], found["under"]
    return found | {"worst": _worst(task, made, dev)}


def _row(made: Predictions, label: int, classes: range) -> list[float]:
    chosen = made.predictions[made.labels == label]
    return [float(np.mean(chosen == other)) if len(chosen) else 0.0 for other in classes]


def _worst(task: Task, made: Predictions, dev: Split) -> list[dict[str, Any]]:
    """Wrong examples by falling distance; among equals the most confident first."""
    from trainer.model.losses import loss_of  # loads torch

    distance = np.abs(made.predictions - made.labels)
    confidence = loss_of(task).confidence(made.scores)
    order = np.lexsort((-confidence, -distance))[:WORST]
    ids = dev.column("id")
    texts = [dev.column(f"text{number + 1}") for number in range(len(task.columns))]
    return [
        {
            "id": ids[index],
            "text": [column[index] for column in texts],
            "label": float(made.labels[index]),
            "prediction": float(made.predictions[index]),
            "score": float(made.scores[index]),
        }
        for index in order
        if distance[index] > 0
    ]
