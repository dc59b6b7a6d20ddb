"""Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from trainer.config.tasks import Task
from trainer.data.readers.rows import Cell, DataError, Rows, places


def parquet_rows(path: Path, task: Task, cells: Sequence[Cell]) -> Rows:
    """The rows of a Parquet file.  Raises `DataError`."""
    try:
        with pq.ParquetFile(path) as file:
            names = file.schema_arrow.names
            at = places(names, cells, f"{path}: task {task.name}")
            wanted = list(dict.fromkeys(names[place] for place in at if place is not None))
            table = file.read(columns=wanted)
        columns = [
            [None] * table.num_rows if place is None else table[names[place]].to_pylist()
            for place in at
        ]
    except DataError:
        raise
    except (pa.ArrowException, ValueError, OSError) as error:  # also text that is not UTF-8
        raise DataError(f"{path}: not a readable Parquet file: {error}") from error
    return Rows(iter(list(zip(*columns, strict=True))), dialect="Parquet")
