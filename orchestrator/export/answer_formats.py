"""Answers as lines of text: CSV, TSV, JSON Lines.

Numbers have six decimals at most; a model's last digits differ between machines.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from orchestrator.export.answers import text_columns
from trainer.config.tasks import Task
from trainer.printable import json_text, printable

Row = Mapping[str, Any]

_DIGITS = 6


class _Table:
    """Rows with a separator: id, sentences, prediction, and `p_<class>` of every class."""

    def __init__(self, task: Task, separator: str):
        self._texts = text_columns(task)
        self._classes = task.class_names
        self._separator = separator

    def header(self) -> str:
        shares = [printable(f"p_{name}") for name in self._classes]
        return self._lines([["id", *self._texts, "prediction", *shares]])

    def rows(self, rows: Sequence[Row]) -> str:
        return self._lines([self._fields(row) for row in rows])

    def _fields(self, row: Row) -> Iterator[Any]:
        yield row["id"]
        yield from (row[name] for name in self._texts)
        yield _rounded(row["prediction"])
        yield from (_rounded(row["probabilities"][name]) for name in self._classes)

    def _lines(self, rows: Sequence[Any]) -> str:
        text = io.StringIO()
        csv.writer(text, delimiter=self._separator, lineterminator="\n").writerows(rows)
        return text.getvalue()


class _JsonLines:
    """One JSON object a line."""

    def header(self) -> str:
        return ""

    def rows(self, rows: Sequence[Row]) -> str:
        return "".join(f"{json_text(_rounded(row))}\n" for row in rows)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DIGITS)
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    return value


#: Names of formats, which are also the endings of files.
FORMATS: dict[str, Callable[[Task], _Table | _JsonLines]] = {
    "csv": partial(_Table, separator=","),
    "tsv": partial(_Table, separator="\t"),
    "jsonl": lambda task: _JsonLines(),
}
