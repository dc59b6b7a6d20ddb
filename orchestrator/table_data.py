"""A table in no particular format: its columns, what they hold, and its rows."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from trainer.printable import in_one_line


class Content(enum.Enum):
    """What a column holds, which decides how its cells may be laid out."""

    NAME = enum.auto()  # a name or an id: never broken, so that it can be copied
    NUMBER = enum.auto()  # with its unit and its interval: never broken, and set to the right
    LABEL = enum.auto()  # the name of a configuration: words, wrapped only where it is long
    SENTENCE = enum.auto()  # wraps at words


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Args:
        rank: 0 always stays. On a narrow terminal those of the highest rank are hidden first.
    """

    heading: str
    content: Content = Content.NAME
    rank: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "heading", in_one_line(self.heading))


@dataclass(frozen=True)
class Cell:
    """The text of a cell; grey marks what must not be relied on."""

    text: str
    grey: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", in_one_line(self.text))


#: Columns of words among those that are declared by their heading alone.
_WORDS = ("task", "split", "status", "value", "id", "ran", "true", "predicted", "text")
_SENTENCES = ("verdict", "reason", "dropped", "cut or odd", "read as")


class TableData:
    """Columns and rows.

    Args:
        columns: a heading stands for a column that goes the sooner the further right it is: a name
            if it is the first one, else a number, unless it is known to hold words.
    """

    def __init__(self, columns: Sequence[str | Column]):
        self.layout = [
            c if isinstance(c, Column) else _declared(c, place) for place, c in enumerate(columns)
        ]
        self.rows: list[list[Cell]] = []

    @property
    def columns(self) -> list[str]:
        """The headings."""
        return [column.heading for column in self.layout]

    def is_text(self, column: int) -> bool:
        """Whether a column holds words; the other columns hold numbers."""
        return self.layout[column].content is not Content.NUMBER

    def add(self, *cells: str | Cell) -> None:
        """Add a row: a cell for each column."""
        self.rows.append([c if isinstance(c, Cell) else Cell(c) for c in cells])


def _declared(heading: str, place: int) -> Column:
    if heading in _SENTENCES:
        return Column(heading, Content.SENTENCE, place)
    words = place == 0 or heading in _WORDS
    return Column(heading, Content.NAME if words else Content.NUMBER, place)
