"""What every format of files gives: the cells that a task reads, row by row.

Shapes: c cells, in the order of `cells_of`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainer.config.tasks import Task

#: The column of ids if a declaration names none.
DEFAULT_ID = "id"


class DataError(ValueError):
    """Data that cannot be used.  The message names the file, what it needs and what it has."""


class MissingColumn(DataError):
    """A file lacks a column.  `present` are the names of those that it has."""

    def __init__(self, message: str, present: Sequence[str] = ()):
        self.present = [name for name in present if name]
        super().__init__(message)


@dataclass(frozen=True)
class Unusable:
    """A row without cells, and why; without a reason for a blank line."""

    reason: str = ""


BLANK = Unusable()
TOO_MANY = Unusable("more fields than the header")

#: The cells of a row, None for those that it lacks.
Row = tuple[Any, ...] | Unusable


@dataclass(frozen=True)
class Cell:
    """A column that a task reads.  A file may lack an optional one."""

    column: str | int
    optional: bool = False


def cells_of(task: Task, *, labelled: bool, split: str) -> list[Cell]:
    """The sentences of a task, its label if `labelled`, the id, and the split if one is asked."""
    cells = [Cell(column) for column in task.columns]
    if labelled:
        cells.append(Cell(task.label))
    cells.append(Cell(task.id) if task.id else Cell(DEFAULT_ID, optional=True))
    if split and task.split_column:
        cells.append(Cell(task.split_column))
    return cells


@dataclass
class Rows:
    """The rows of a file.

    Attributes:
        rows: one for each line (or record) after the header.
        header: lines of the header, 0 or 1.
        blank: blank lines above the header.
        dialect: how the file is read, in words.
        noted: rows that look odd, by reason; complete once `rows` is exhausted.
    """

    rows: Iterator[Row]
    header: int = 0
    blank: int = 0
    dialect: str = ""
    noted: Counter[str] = field(default_factory=Counter)


def places(header: Sequence[str], cells: Sequence[Cell], where: str) -> list[int | None]:
    """The place of every cell in a row of a file with this header; None for a missing optional one.

    Raises `DataError` for a column that is missing, or whose name stands twice.
    """
    named: dict[str, list[int]] = {}
    for place, name in enumerate(header):
        named.setdefault(name.strip(), []).append(place)
    return [_place(cell, named, len(header), where) for cell in cells]


def _place(cell: Cell, named: dict[str, list[int]], width: int, where: str) -> int | None:
    if isinstance(cell.column, int):
        if cell.column > width:
            raise DataError(f"{where} needs column {cell.column}; it has {width}")
        return cell.column - 1
    at = named.get(cell.column, [])
    if len(at) > 1 and not cell.optional:
        numbers = " or ".join(str(place + 1) for place in at)
        raise DataError(
            f"{where} needs the column {cell.column!r}, which stands twice in the header; "
            f"name it by its number: {numbers}"
        )
    if not at and not cell.optional:
        names = ", ".join(name for name in named if name) or "none"
        message = f"{where} needs the column {cell.column!r}; its columns are: {names}"
        raise MissingColumn(message, list(named))
    return at[-1] if at else None
