"""Reads examples from files: the course's tab-separated ones, GLUE's TSV, Parquet.

Every row that is left out or looks odd is counted, by reason.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.config.tasks import Task


class DataError(ValueError):
    """Data that cannot be used.  The message names the file, what it needs and what it has."""


#: The key of a row that has more fields than the header, so that its fields are ambiguous.
TOO_MANY = "\0"


@dataclass
class Examples:
    """The examples of one split, column by column."""

    ids: list[str] = field(default_factory=list)
    #: One or two sentences for each example.
    texts: list[list[str]] = field(default_factory=list)
    #: None for a test split.
    labels: list[float] | None = field(default_factory=list)
    #: By reason: rows that are left out, and rows that are kept although they look odd.
    dropped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)


def read_examples(path: Path, task: Task, *, labelled: bool) -> Examples:
    """Read one file of a task.

    Raises:
        DataError: the file or a column is missing, or the file cannot be read.
    """
    if not path.is_file():
        raise DataError(missing_file(path, task))
    columns = [str(c) for c in (*task.columns, *([task.label] if labelled else []))]
    if path.suffix == ".parquet":
        header, rows = _parquet_rows(path, columns)
    else:
        header, rows = _text_rows(path)
    for column in columns:
        if column not in header:
            raise DataError(
                f"{path}: task {task.name} needs the column {column!r}; "
                f"its columns are: {', '.join(c for c in header if c) or 'none'}"
            )
    return collect(rows, task, labelled=labelled)


def header_of(path: Path) -> list[str]:
    """The names of a file's columns.  Raises `DataError`."""
    if not path.is_file():
        raise DataError(f"{path}: there is no such file")
    return _parquet_rows(path, [])[0] if path.suffix == ".parquet" else _text_rows(path)[0]


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


def _parquet_rows(path: Path, columns: list[str]) -> tuple[list[str], Iterable[dict[str, Any]]]:
    """The header and the rows."""
    try:
        header = pq.read_schema(path).names
        present = [c for c in [*columns, "id"] if c in header]
        return header, pq.read_table(path, columns=present).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def _text_rows(path: Path) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """The header and the rows of tab-separated text.

    In GLUE's files (`.tsv`) quotes are text.  In the course's files they enclose a field.
    """
    glue = path.suffix == ".tsv"
    stream = path.open(encoding="utf-8", errors="strict", newline="")
    reader = csv.reader(
        stream, delimiter="\t", quoting=csv.QUOTE_NONE if glue else csv.QUOTE_MINIMAL
    )
    try:
        header = next(reader, [])
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: not UTF-8 tab-separated text: {error}") from error

    def rows() -> Iterator[dict[str, Any]]:
        with stream:
            try:
                for values in reader:
                    if len(values) > len(header):
                        yield {TOO_MANY: True}
                    else:
                        yield dict(zip(header, values, strict=False))
            except (UnicodeDecodeError, csv.Error) as error:
                raise DataError(f"{path}: line {reader.line_num}: {error}") from error

    return header, rows()


def collect(rows: Iterable[dict[str, Any]], task: Task, *, labelled: bool) -> Examples:
    """Check every row against the task's declaration."""
    examples = Examples(labels=[] if labelled else None)
    for number, row in enumerate(rows):
        if TOO_MANY in row:
            examples.dropped["more fields than the header"] += 1
            continue
        texts = [row.get(str(column)) for column in task.columns]
        if any(text is None for text in texts):
            examples.dropped["a sentence column is missing"] += 1
            continue
        if examples.labels is not None:
            label = _label(row.get(str(task.label)), task)
            if isinstance(label, str):
                examples.dropped[label] += 1
                continue
            examples.labels.append(label)
        stripped = [str(text).strip() for text in texts]
        if not all(stripped):
            examples.noted["empty sentence, kept"] += 1
        examples.texts.append(stripped)
        examples.ids.append(str(row.get("id") or number).strip())
    return examples


def _label(value: Any, task: Task) -> float | str:
    """The label as a number, or the reason why it cannot be used."""
    if value is None or str(value).strip() == "":
        return "the label is missing"
    try:
        label = float(value)
    except ValueError:
        return "the label is not a number"
    low, high = task.label_bounds
    if not low <= label <= high:
        return f"the label is outside {low:g}..{high:g}"
    if task.integer_labels and label != int(label):
        return "the label is not a whole number"
    return label
