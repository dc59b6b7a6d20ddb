"""Examples out of files: the course's tab-separated ones, GLUE-style TSV, Parquet.

Nothing is dropped in silence: every row that is left out or looks odd is counted by reason.
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
    """Data that cannot be used; the text names the file, what was wanted and what was found."""


#: Key of a row that has more fields than the header: which of them is which cannot be known.
TOO_MANY = "\0"


@dataclass
class Examples:
    """Columns of one split.  `labels` is None for a test split.

    `dropped` counts rows left out, `noted` rows kept although something is odd, by reason.
    """

    ids: list[str] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    labels: list[float] | None = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    noted: Counter[str] = field(default_factory=Counter)


def read_examples(path: Path, task: Task, *, labelled: bool) -> Examples:
    """Read one file of a task; raises `DataError` for a missing file or column."""
    if not path.is_file():
        raise DataError(missing_file(path, task))
    columns = [*task.columns, *([task.label] if labelled else [])]
    if path.suffix == ".parquet":
        found, rows = _parquet_rows(path, columns)
    else:
        found, rows = _text_rows(path)
    for column in columns:
        if column not in found:
            raise DataError(
                f"{path}: task {task.name} needs the column {column!r}; "
                f"columns found: {', '.join(c for c in found if c) or 'none'}"
            )
    return collect(rows, task, labelled=labelled)


def missing_file(path: Path, task: Task) -> str:
    """What is wrong when a task's file is not there."""
    if not path.parent.is_dir():
        there = "the folder does not exist"
    else:
        there = "found there: " + (
            ", ".join(sorted(p.name for p in path.parent.iterdir())) or "nothing"
        )
    return (
        f"{path}: task {task.name} needs this file; {there}; "
        "set data.root to the folder that holds it"
    )


def _parquet_rows(path: Path, columns: list[str]) -> tuple[list[str], Iterable[dict[str, Any]]]:
    try:
        found = pq.read_schema(path).names
        wanted = [c for c in [*columns, "id"] if c in found]
        return found, pq.read_table(path, columns=wanted).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error


def _text_rows(path: Path) -> tuple[list[str], Iterator[dict[str, Any]]]:
    """Tab-separated text.  `.tsv` is GLUE's (quotes are text); else the course's (quotes quote)."""
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
        texts = [row.get(column) for column in task.columns]
        if any(text is None for text in texts):
            examples.dropped["a sentence column is missing"] += 1
            continue
        if examples.labels is not None:
            label = _label(row.get(task.label), task)
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
    """The label as a number, or the reason why the row has none that can be used."""
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
