"""The parts of a report, before page.html turns each class into HTML."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.compare.output.tables import TableData
from orchestrator.report.figure import Figure


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
class Figures:
    """Figures that belong together, side by side where the page is wide enough."""

    figures: list[Figure]


@dataclass(frozen=True)
class Table:
    caption: str
    data: TableData


Part = Text | Missing | Heading | Code | Figures | Table


@dataclass
class Section:
    """A section of the page; `key` is its id."""

    key: str
    title: str
    parts: list[Part] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        return [
            figure for part in self.parts if isinstance(part, Figures) for figure in part.figures
        ]
