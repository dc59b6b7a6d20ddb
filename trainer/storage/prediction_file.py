"""A trial's predictions, a Parquet file that anybody may have written: checked, then decoded.

A file of a few kilobytes can stand for gigabytes: rows that repeat, texts that a dictionary holds
once.  So rows, columns and sizes are checked in the metadata, and texts stay in their dictionary
until their length is known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainer.storage.limits import MAX_DECODED, MAX_ROWS

if TYPE_CHECKING:
    import pyarrow as pa

#: The columns that are read: two texts, two numbers.
TEXTS, NUMBERS = ("task", "id"), ("label", "prediction")
COLUMNS = (*TEXTS, *NUMBERS)
#: Columns and row groups of a file at most, and bytes of a text in its metadata.
_MAX_PARTS, _MAX_METADATA_TEXT = 1_000, 2**20


class PredictionFileError(ValueError):
    """A file that is no such table, or beyond a limit; the text says which."""


def read_prediction_file(content: bytes) -> pa.Table:
    """A row per dev example, n > 0: task and id (text), label and prediction (float64).

    Numbers can be NaN or missing.  Raises `PredictionFileError`.
    """
    import pyarrow as pa  # slow to load, and most of the ledger is read without it
    import pyarrow.parquet as pq

    try:
        source = pa.BufferReader(content)
        limits = {
            "thrift_string_size_limit": _MAX_METADATA_TEXT,
            "thrift_container_size_limit": 100 * _MAX_PARTS,
        }
        plain = pq.ParquetFile(source, **limits)
        _check_metadata(plain.metadata)
        _check_types(plain.schema_arrow)
        file = pq.ParquetFile(source, read_dictionary=list(TEXTS), metadata=plain.metadata)
        table = file.read(columns=list(COLUMNS), use_threads=False)
        for name in TEXTS:
            table = _replaced(table, name, _text(name, table[name].combine_chunks()))
        for name in NUMBERS:
            table = _replaced(table, name, table[name].cast(pa.float64()))
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        if isinstance(error, PredictionFileError):
            raise
        text = str(error).strip().partition("\n")[0]
        raise PredictionFileError(text[:200] or type(error).__name__) from error
    return table.combine_chunks()


def _check_metadata(metadata: Any) -> None:
    if not 0 < metadata.num_rows <= MAX_ROWS:
        raise PredictionFileError(f"has {metadata.num_rows:,} rows; allowed: 1 to {MAX_ROWS:,}")
    if max(metadata.num_row_groups, metadata.num_columns) > _MAX_PARTS:
        raise PredictionFileError(f"has more than {_MAX_PARTS:,} columns or row groups")
    size = sum(metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups))
    if not 0 <= size <= MAX_DECODED:
        raise PredictionFileError(f"is larger than {MAX_DECODED:,} bytes before compression")


def _check_types(schema: pa.Schema) -> None:
    import pyarrow as pa

    names = schema.names
    if missing := [name for name in COLUMNS if names.count(name) != 1]:
        raise PredictionFileError(f"has no column {missing[0]}, or more than one")
    for name in TEXTS:
        kind = schema.field(name).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not pa.types.is_string(kind):
            raise PredictionFileError(f"column {name}: holds {_short(kind)}; allowed: text")
    for name in NUMBERS:
        kind = schema.field(name).type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
            raise PredictionFileError(f"column {name}: holds {_short(kind)}; allowed: numbers")


def _short(kind: Any) -> str:
    return str(kind)[:50]


def _text(name: str, column: Any) -> Any:
    """The texts (n,) of a column that holds them in a dictionary."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        raise PredictionFileError(f"column {name}: lacks {column.null_count:,} texts")
    lengths = pc.binary_length(column.dictionary).take(column.indices)
    if (pc.sum(lengths).as_py() or 0) > MAX_DECODED:
        raise PredictionFileError(f"column {name}: is longer than {MAX_DECODED:,} bytes")
    return column.cast(pa.string())


def _replaced(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)
