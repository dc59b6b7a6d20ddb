"""Reads examples from files: separated text, JSON Lines, Parquet.

Every row that is left out or looks odd is counted, by reason.  No line vanishes: the lines of a
file are its header, blank lines, rows of other splits, dropped rows and examples.
"""

from trainer.data.readers.examples import Examples
from trainer.data.readers.files import (
    generated_examples,
    has_columns,
    missing_file,
    read_examples,
    read_split,
)
from trainer.data.readers.rows import DataError, MissingColumn

__all__ = [
    "DataError",
    "Examples",
    "MissingColumn",
    "generated_examples",
    "has_columns",
    "missing_file",
    "read_examples",
    "read_split",
]
