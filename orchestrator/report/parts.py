"""The parts of a report, before page.html turns each class into HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field

from orchestrator.compare.output.tables import Cell, TableData
from orchestrator.report.figure import Figure

#: A table's first and last rows, which a page break does not part.
_TOGETHER = 3


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True)
class Missing:
    """A sentence that says what cannot be shown, and why."""

    text: str


@dataclass(frozen=True)
class Heading:
    """The title of the parts that follow; `key` is its id in the page."""

    text: str
    key: str


@dataclass(frozen=True)
class Code:
    """Commands or a file."""

    text: str
    label: str


@dataclass(frozen=True)
class File:
    """A file to copy or to save; it is not printed."""

    name: str
    text: str

    @property
    def address(self) -> str:
        """The whole file as an address, which a browser saves under the file's name."""
        content = base64.b64encode(self.text.encode(errors="replace")).decode()
        return f"data:application/octet-stream;base64,{content}"


@dataclass(frozen=True)
class Words:
    """Words with their meanings."""

    meanings: list[tuple[str, str]]


@dataclass(frozen=True)
class Figures:
    """Figures that belong together, side by side where the page is wide enough."""

    figures: list[Figure]


@dataclass(frozen=True)
class Group:
    """Rows of a table; a page break never parts those of a whole one."""

    first: int
    rows: Sequence[Sequence[Cell]]
    whole: bool = True


@dataclass(frozen=True)
class Table:
    caption: str
    data: TableData

    def groups(self) -> list[Group]:
        """The rows in groups, so that no page begins or ends with a single row.

        Rows whose first cell is indented stay with the row above them.
        """
        rows = self.data.rows
        starts = [n for n, row in enumerate(rows) if not row or not row[0].text.startswith("  ")]
        if len(starts) < len(rows):
            ends = [*starts[1:], len(rows)]
            return [Group(a, rows[a:b]) for a, b in zip(starts, ends, strict=True)]
        if len(rows) <= 2 * _TOGETHER:
            return [Group(0, rows)]
        last = len(rows) - _TOGETHER
        middle = Group(_TOGETHER, rows[_TOGETHER:last], whole=False)
        return [Group(0, rows[:_TOGETHER]), middle, Group(last, rows[last:])]


Part = Text | Missing | Heading | Code | File | Words | Figures | Table


@dataclass
class Section:
    """A section of the page; `key` is its id. A folded one shows its title until it is opened."""

    key: str
    title: str
    parts: list[Part] = field(default_factory=list)
    folded: bool = False

    def figures(self) -> list[Figure]:
        return [
            figure for part in self.parts if isinstance(part, Figures) for figure in part.figures
        ]
