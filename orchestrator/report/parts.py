"""What a report consists of, before it is written as a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from orchestrator.compare.output.tables import Cell, Sheet
from orchestrator.report.figure import Figure

__all__ = ["Cell", "Code", "Figures", "Heading", "Missing", "Part", "Section", "Table", "Text"]


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Missing:
    """What cannot be shown, and why: a sentence in its place."""

    text: str
    kind: ClassVar[str] = "missing"


@dataclass(frozen=True)
class Heading:
    """Begins a part of a section; `key` is its id."""

    text: str
    key: str
    kind: ClassVar[str] = "heading"


@dataclass(frozen=True)
class Code:
    """What is typed or read by a machine."""

    text: str
    label: str
    kind: ClassVar[str] = "code"


@dataclass(frozen=True)
class Figures:
    """Figures that belong together, side by side where there is room."""

    figures: list[Figure]
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Table:
    """A table; `words` are the columns that hold words, the others hold figures."""

    caption: str
    columns: list[str]
    rows: list[list[Cell]]
    words: frozenset[int] = frozenset({0})
    kind: ClassVar[str] = "table"

    @classmethod
    def of(cls, sheet: Sheet, caption: str) -> Table:
        """A sheet of `orch compare`."""
        words = frozenset(n for n in range(len(sheet.columns)) if sheet.is_text(n))
        return cls(caption, sheet.columns, sheet.rows, words)

    @classmethod
    def plain(
        cls,
        caption: str,
        columns: Sequence[str],
        rows: Sequence[Sequence[str]],
        words: Sequence[int] = (0,),
    ) -> Table:
        """Nothing in it grey."""
        cells = [[Cell(text) for text in row] for row in rows]
        return cls(caption, list(columns), cells, frozenset(words))


Part = Text | Missing | Heading | Code | Figures | Table


@dataclass
class Section:
    """A section with its title; `key` is its id."""

    key: str
    title: str
    parts: list[Part] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        return [
            figure for part in self.parts if isinstance(part, Figures) for figure in part.figures
        ]
