"""Separated text: the course's files, GLUE's TSV, comma-separated files.

A line is a row, unless the declaration says that quoted fields may hold line breaks
(`quotes: many_lines`).  So a quotation mark that is never closed cannot swallow rows.
"""

from __future__ import annotations

import csv
import io
import operator
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from trainer.config.dialects import AUTO, QUOTES, SEPARATORS, QuotesEntry
from trainer.config.tasks import Task
from trainer.data.readers.rows import (
    BLANK,
    TOO_MANY,
    Cell,
    DataError,
    MissingColumn,
    Row,
    Rows,
    places,
)
from trainer.data.readers.text import lines_of, text_suffix

#: `quotes: auto` by the ending; other endings: `one_line`.
_QUOTES_OF = {".tsv": "none"}
_UNCLOSED = "a quotation mark is never closed in its line, kept as text"
#: Lines that the first record may have: names of columns, or a text.
_MOST_LINES = 100
#: Stands after the last line, to see whether the last record is closed.
_END = "\0end of the file"

# Python's limit for one field is 131,072 characters; a review may be longer.
csv.field_size_limit(min(sys.maxsize, 2**31 - 1))

#: Splits a line into its fields.  The second value says whether a mark was never closed.
Split = Callable[[str], tuple[list[str], bool]]


def separated_rows(path: Path, task: Task, cells: Sequence[Cell]) -> Rows:
    """The rows of a file of separated text.  Raises `DataError`."""
    lines = lines_of(path)
    name = task.quotes if task.quotes != AUTO else _QUOTES_OF.get(text_suffix(path), "one_line")
    quotes = QUOTES[name]
    blank, first = _first_record(lines, quotes, task.separator_character)
    if not first:
        raise DataError(f"{path}: has no line that is not blank")
    where = f"{path}: task {task.name}"
    separator, width, at = _layout(first, task, cells, quotes, where)
    pick = _picker(at, width)
    rows = Rows(
        iter(()), header=int(task.header), blank=blank,
        dialect=f"{_named(separator)}-separated, {quotes.words}",
    )  # fmt: skip
    rest = lines if task.header else _again(first, lines)
    if quotes.span_lines:
        above = blank + (len(io.StringIO(first, newline="").readlines()) if task.header else 0)
        rows.rows = _records(rest, separator, pick, (path, above))
    else:
        rows.rows = _lines(rest, _splitter(separator, quotes), pick, rows.noted)
    return rows


def _first_line(lines: Iterator[str], quotes: QuotesEntry) -> tuple[int, str]:
    """The number of blank lines at the start, and the first other one; empty if there is none."""
    blank = 0
    for line in lines:
        if line.strip("\r\n"):
            return blank, line
        blank += 1
    return blank, ""


def _first_record(lines: Iterator[str], quotes: QuotesEntry, separator: str) -> tuple[int, str]:
    """As `_first_line`, with the lines that follow if one of its fields goes on there."""
    blank, first = _first_line(lines, quotes)
    separators = [separator] if separator else [s.character for s in SEPARATORS.values()]
    for _ in range(_MOST_LINES if quotes.span_lines else 0):
        if not any(_is_open(first, each) for each in separators):
            break
        first += next(lines, "")
    return blank, first


def _is_open(record: str, separator: str) -> bool:
    """Whether a quoted field of a record goes on in the next line."""
    lines = io.StringIO(record, newline="")
    *_, last = csv.reader(_and_end(lines), delimiter=separator)
    return last != [_END]


def _again(first: str, lines: Iterable[str]) -> Iterator[str]:
    yield from io.StringIO(first, newline="")
    yield from lines


def _layout(
    first: str, task: Task, cells: Sequence[Cell], quotes: QuotesEntry, where: str
) -> tuple[str, int, list[int | None]]:
    """The separator, the number of fields in the first line, and the place of every cell.

    If the separator is to be found, it is the first one of the list whose fields are the columns.
    """
    chosen = task.separator_character
    problems: dict[str, tuple[int, DataError]] = {}
    for separator in [chosen] if chosen else [s.character for s in SEPARATORS.values()]:
        fields = _splitter(separator, quotes)(first)[0]
        names = fields if task.header else [""] * len(fields)
        try:
            return separator, len(fields), places(names, cells, where)
        except DataError as error:
            problems[separator] = (len(fields), error)
    likely = max(problems, key=lambda separator: problems[separator][0])
    count, problem = problems[likely]
    if not quotes.enclose and first.startswith('"') and isinstance(problem, MissingColumn):
        hint = "quotation marks are text here; quotes: one_line lets them enclose fields"
        raise MissingColumn(f"{problem} ({hint})", problem.present)
    if chosen or count == 1 or likely == "\t":
        raise problem
    looks = f"{problem} (the file looks {_named(likely)}-separated)"
    present = problem.present if isinstance(problem, MissingColumn) else ()
    raise MissingColumn(looks, present)


def _named(separator: str) -> str:
    names = {entry.character: entry.name for entry in SEPARATORS.values()}
    return names.get(separator, repr(separator))


def _picker(at: Sequence[int | None], width: int) -> Callable[[list[str]], Row]:
    """What makes a row of a line's fields.  Empty fields beyond the first line's are no fields."""
    complete = all(place is not None for place in at)
    needed = max((place for place in at if place is not None), default=0) + 1
    whole: Any = operator.itemgetter(*(place or 0 for place in at)) if len(at) > 1 else None

    def pick(fields: list[str]) -> Row:
        if len(fields) > width and any(fields[width:]):
            return TOO_MANY
        if complete and whole is not None and len(fields) >= needed:
            return tuple(whole(fields))
        return tuple(
            fields[place] if place is not None and place < len(fields) else None for place in at
        )

    return pick


def _lines(
    lines: Iterable[str], split: Split, pick: Callable[[list[str]], Row], noted: Counter[str]
) -> Iterator[Row]:
    """A row for every line."""
    for line in lines:
        if not line.strip("\r\n"):
            yield BLANK
            continue
        fields, unclosed = split(line)
        if unclosed:
            noted[_UNCLOSED] += 1
        yield pick(fields)


def _splitter(separator: str, quotes: QuotesEntry) -> Split:
    # A field in quotation marks, then what stands between it and the separator; or a plain field.
    plain = f"[^{re.escape(separator)}]*"
    field = re.compile(f'"([^"]*(?:""[^"]*)*)"(?!")({plain})|({plain})')

    def split(line: str) -> tuple[list[str], bool]:
        line = line.rstrip("\r\n")
        if not quotes.enclose or '"' not in line:
            return line.split(separator), False
        fields, unclosed, start = [], False, 0
        while True:
            match = field.match(line, start)
            assert match is not None  # a plain field may be empty
            inside, after, text = match.groups()
            # A mark that opens a field and is never closed is text: its field is a plain one.
            unclosed = unclosed or (text or "").startswith('"')
            fields.append(text if inside is None else inside.replace('""', '"') + after)
            if match.end() == len(line):
                return fields, unclosed
            start = match.end() + 1

    return split


def _records(
    lines: Iterable[str],
    separator: str,
    pick: Callable[[list[str]], Row],
    place: tuple[Path, int],
) -> Iterator[Row]:
    """A row for every record, of which one may have several lines.

    `place` is the file and the number of lines above.  Raises `DataError` for an open record.
    """
    path, above = place
    reader, start = csv.reader(_and_end(lines), delimiter=separator), 1
    for fields in reader:
        if fields == [_END]:
            return
        if fields and fields[-1].endswith(_END):
            raise DataError(
                f"{path}: line {above + start}: a quotation mark of the record that begins here is "
                "never closed"
            )
        start = reader.line_num + 1
        yield pick(fields) if fields else BLANK


def _and_end(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield line if line.endswith(("\n", "\r")) else line + "\n"
    yield _END
