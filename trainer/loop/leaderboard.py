"""Predictions as files of the CS224N leaderboard, as the course's own code writes them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.config.task_choices import LOSSES
from trainer.config.tasks import TASKS, Task

#: The second column of the header, in the course's spelling.  Other tasks: the label's column.
_COLUMNS = {
    "sst": "Predicted_Sentiment",
    "cfimdb": "Predicted_Sentiment",
    "qqp": "Predicted_Is_Paraphrase",
    "sts": "Predicted_Similiary",
}


def leaderboard_file(task: Task, ids: Sequence[str], predictions: np.ndarray) -> bytes:
    """The file of a task's predictions, in the order of their ids.

    The header is `id \\t column \\n`, the lines are `id , value \\n`.  Ids are in lower case.
    Classes are whole numbers, but the course writes a paraphrase as 0.0 or 1.0.  Real values have
    the digits of float32, as there.

    Args:
        ids: n ids.
        predictions: classes or real values, float64 (n,).
    """
    lines = [f"id \t {_COLUMNS.get(task.name, f'Predicted_{task.label_name}')} \n"]
    whole = all(LOSSES[t.loss].output_per_class for t in (task, TASKS.get(task.name, task)))
    values = predictions.astype(int) if whole else predictions.astype(np.float32)
    for example, value in zip(ids, values, strict=True):
        lines.append(f"{example.strip().lower()} , {value} \n")
    return "".join(lines).encode()
