"""JSON Lines: an object in every line, whose keys are the columns."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer.config.tasks import Task
from trainer.data.readers.rows import BLANK, Cell, DataError, Row, Rows, Unusable, places
from trainer.data.readers.text import lines_of

_NO_OBJECT = Unusable("not a JSON object")
_NO_CHARACTER = Unusable("half of a character (a lone surrogate)")


def json_rows(path: Path, task: Task, cells: Sequence[Cell]) -> Rows:
    """The rows of a file of JSON Lines.  Raises `DataError`.

    An object may lack a column, but one of the file's objects must have it.
    """
    where = f"{path}: task {task.name}"
    for cell in cells:
        if isinstance(cell.column, int):
            raise DataError(f"{where} needs column {cell.column}; JSON Lines name their columns")
    objects: list[dict[str, Any] | Unusable] = []
    for line in lines_of(path):
        if not objects and line.lstrip().startswith("["):
            raise DataError(
                f"{path}: is one JSON list; JSON Lines have an object in every line "
                f"(jq -c '.[]' makes them)"
            )
        objects.append(_parsed(line))
    return object_rows(objects, cells, where, "JSON Lines")


def object_rows(
    objects: Sequence[dict[str, Any] | Unusable], cells: Sequence[Cell], where: str, dialect: str
) -> Rows:
    """The rows of mappings from columns to values.

    Raises `DataError`, which begins with `where`, for a column that none of them has.
    """
    present = {name: None for each in objects if isinstance(each, dict) for name in each}
    at = places(list(present), cells, where)
    names = [
        None if place is None else str(cell.column) for cell, place in zip(cells, at, strict=True)
    ]
    return Rows(_rows(objects, names), dialect=dialect)


def _parsed(line: str) -> dict[str, Any] | Unusable:
    if not line.strip():
        return BLANK
    try:
        value = json.loads(line)
        if "\\u" in line:  # JSON can write text that no encoding can
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return _NO_CHARACTER
    except (ValueError, RecursionError):
        return _NO_OBJECT
    return value if isinstance(value, dict) else _NO_OBJECT


def _rows(
    objects: Sequence[dict[str, Any] | Unusable], names: Sequence[str | None]
) -> Iterator[Row]:
    for each in objects:
        if isinstance(each, Unusable):
            yield each
        else:
            yield tuple(None if name is None else each.get(name) for name in names)
