"""The files of a task, whatever their format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from trainer.config.tasks import Task
from trainer.data.readers.examples import Examples, add_rows
from trainer.data.readers.json_lines import json_rows, object_rows
from trainer.data.readers.parquet import parquet_rows
from trainer.data.readers.rows import Cell, DataError, Rows, cells_of
from trainer.data.readers.separated import separated_rows
from trainer.data.readers.text import text_suffix

#: Ending -> how such a file is read; other endings: separated text.
_FORMATS: dict[str, Callable[[Path, Task, Sequence[Cell]], Rows]] = {
    ".jsonl": json_rows,
    ".ndjson": json_rows,
    ".json": json_rows,
    ".parquet": parquet_rows,
}


def read_examples(path: Path, task: Task, *, labelled: bool) -> Examples:
    """Read all rows of one file, whatever their split.

    Raises:
        DataError: the file or a column is missing, or the file cannot be read.
    """
    examples = Examples(labels=[] if labelled else None)
    add_rows(examples, _rows(path, task, cells_of(task, labelled=labelled, split="")), task)
    return examples


def read_split(paths: Sequence[Path], task: Task, split: str) -> Examples:
    """Read the rows of `train`, `dev` or `test` from a task's files.  Raises as `read_examples`."""
    labelled = split != "test"
    examples = Examples(labels=[] if labelled else None)
    cells = cells_of(task, labelled=labelled, split=split)
    for path in paths:
        add_rows(examples, _rows(path, task, cells), task, split)
    return examples


def generated_examples(rows: Sequence[dict[str, Any]], task: Task, split: str) -> Examples:
    """The examples of rows that are in no file.  Raises `DataError` if they lack a column."""
    examples = Examples(labels=None if split == "test" else [])
    cells = cells_of(task, labelled=split != "test", split="")
    add_rows(examples, object_rows(rows, cells, f"task {task.name}", "generated"), task)
    return examples


def has_columns(path: Path, task: Task) -> bool:
    """Whether a file has a task's sentences and labels.  Raises `DataError` if it is no file."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    try:
        _rows(path, task, cells_of(task, labelled=True, split=""))
    except DataError:
        return False
    return True


def missing_file(path: Path, task: Task) -> str:
    """The message if a task's file does not exist."""
    problem = "the folder does not exist"
    if path.parent.is_dir():
        files = ", ".join(sorted(p.name for p in path.parent.iterdir()))
        problem = f"the folder contains: {files or 'nothing'}"
    return (
        f"{path}: task {task.name} needs this file; {problem}; "
        "set data.root to the folder that contains it"
    )


def _rows(path: Path, task: Task, cells: Sequence[Cell]) -> Rows:
    if not path.is_file():
        raise DataError(missing_file(path, task))
    read = _FORMATS.get(text_suffix(path), separated_rows)
    return read(path, task, cells)
