"""What a model says about sentences, as rows for people and programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from orchestrator.export.sentences import Block
    from trainer.config.tasks import Task
    from trainer.inference import Model


def answer_rows(task: Task, probabilities: np.ndarray) -> list[dict[str, Any]]:
    """A row for every example.

    A class task's row has `prediction` (the name of the class), `class` (its number) and
    `probabilities` (by the classes' names).  A regression's row has only `prediction`, the value.

    Args:
        probabilities: (n, classes) or real values (n,), as `Model.probabilities` gives them.
    """
    if not task.integer_labels:
        return [{"prediction": value} for value in probabilities.tolist()]
    names = task.class_names
    return [
        {
            "prediction": names[number],
            "class": number,
            "probabilities": dict(zip(names, row, strict=True)),
        }
        for number, row in zip(
            probabilities.argmax(1).tolist(), probabilities.tolist(), strict=True
        )
    ]


def text_columns(task: Task) -> tuple[str, ...]:
    """The names of the sentences in a row: `text`, or `text1` and `text2` of a pair."""
    return ("text1", "text2") if task.is_pair else ("text",)


def answer_blocks(
    model: Model, task: Task, blocks: Iterable[Block], noted: Counter[str]
) -> Iterator[list[dict[str, Any]]]:
    """The rows of every block, each after the id and the sentences that it is about.

    Args:
        noted: gets the number of examples that were cut, by reason.
    """
    columns = text_columns(task)
    for block in blocks:
        if not block.ids:
            continue
        split = model.split(task.name, *zip(*block.texts, strict=True))
        noted.update(split.report["noted"])
        rows = answer_rows(task, model.probabilities_of(split))
        yield [
            {"id": example, **dict(zip(columns, sentences, strict=True)), **row}
            for example, sentences, row in zip(block.ids, block.texts, rows, strict=True)
        ]
