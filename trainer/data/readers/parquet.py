"""Parquet files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.config.tasks import Task
from trainer.data.readers.rows import Cell, DataError, Row, Rows, places


def parquet_rows(path: Path, task: Task, cells: Sequence[Cell]) -> Rows:
    """The rows of a Parquet file.  Raises `DataError`."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
    except (pa.ArrowException, OSError) as error:
        raise _not_readable(path, error) from error
    at = places(names, cells, f"{path}: task {task.name}")
    return Rows(
        _rows(path, [None if place is None else names[place] for place in at]), dialect="Parquet"
    )


def _rows(path: Path, names: Sequence[str | None]) -> Iterator[Row]:
    """The cells of these columns, None for one that the file lacks.  Raises `DataError`."""
    try:
        table = pq.read_table(path, columns=list(dict.fromkeys(filter(None, names))))
        columns = [
            [None] * table.num_rows if name is None else table[name].to_pylist() for name in names
        ]
    except (pa.ArrowException, ValueError, OSError) as error:  # also text that is not UTF-8
        raise _not_readable(path, error) from error
    yield from zip(*columns, strict=True)


def _not_readable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path}: not a readable Parquet file: {error}")
