"""Tables that fit the terminal: names and numbers stay whole, and columns go by their rank."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.text import Text

from orchestrator.table_data import Cell, Column, Content, TableData

#: On a narrower terminal a table becomes a list.
LIST_BELOW = 60
_GAP = "  "
#: A space that does not end a line, as in `95 %` and `0: 566`, and what stands for it meanwhile.
_INSEPARABLE = re.compile(r" (?=%)|(?<=\d:) (?=\d)")
_TIE = "\u00a0"
#: The share of the terminal's width below which the cells of a column do not wrap.
_SHARES = {Content.LABEL: 0.5, Content.SENTENCE: 0.25}


def table_lines(data: TableData, width: int | None, ways: Sequence[str] = ()) -> list[Text]:
    """The lines of a table: at most `width` characters each, unless a single name is longer.

    Args:
        width: of the terminal; None for all columns, a line for each row.
        ways: how to see the columns that are hidden, for the last line.
    """
    if width is None:
        shown = list(range(len(data.layout)))
        return _as_table(data, shown, {place: _longest(data, place) for place in shown})
    filled = [place for place in range(len(data.layout)) if any(_texts(data, place))]
    least = {place: _least(data, place, width) for place in filled}
    shown = _kept(data, least, width)
    if width < LIST_BELOW or not shown:
        return _as_list(data, width)
    hidden = [data.columns[place] for place in filled if place not in shown]
    lines = _as_table(data, shown, _widened(data, {p: least[p] for p in shown}, width))
    return lines + [Text(line, style="dim") for line in _about(hidden, ways, width)]


def wrap(text: str, width: int) -> list[str]:
    """The lines of a text, broken at words; a word that is longer than a line stays whole."""
    lines: list[str] = []
    for paragraph in text.split("\n"):
        if cell_len(paragraph) <= width:
            lines.append(paragraph)
            continue
        line = ""
        indent = paragraph[: len(paragraph) - len(paragraph.lstrip())]
        for word in _words(paragraph):
            if line and cell_len(f"{line} {word}") > width:
                lines.append(line)
                line = indent + word
            else:
                line = f"{line} {word}" if line else indent + word
        lines.append(line)
    return [line.replace(_TIE, " ") for line in lines]


def _words(text: str) -> list[str]:
    return [word for word in _INSEPARABLE.sub(_TIE, text).split(" ") if word]


def _texts(data: TableData, place: int) -> list[str]:
    return [row[place].text for row in data.rows]


def _longest(data: TableData, place: int) -> int:
    texts = [data.columns[place], *_texts(data, place)]
    return max(map(cell_len, texts))


def _longest_word(texts: Iterable[str]) -> int:
    return max((cell_len(word) for text in texts for word in _words(text)), default=0)


def _least(data: TableData, place: int, width: int) -> int:
    """The least width of a column: its heading wraps at words, its cells only if they are words."""
    content, texts = data.layout[place].content, _texts(data, place)
    whole = max(map(cell_len, texts))
    if content in _SHARES:
        whole = max(min(whole, int(width * _SHARES[content])), _longest_word(texts))
    return max(whole, _longest_word([data.columns[place]]))


def _kept(data: TableData, least: dict[int, int], width: int) -> list[int]:
    """The places of the columns that fit, by their rank; empty if those of rank 0 do not fit."""
    room = width + len(_GAP)
    chosen: list[int] = []
    for place in sorted(least, key=lambda place: (data.layout[place].rank, place)):
        if least[place] + len(_GAP) <= room:
            room -= least[place] + len(_GAP)
            chosen.append(place)
        elif data.layout[place].rank == 0:
            return []
    return sorted(chosen)


def _widened(data: TableData, least: dict[int, int], width: int) -> dict[int, int]:
    """The widths of columns once the room that is left is given to words, then to headings."""
    widths = dict(least)
    left = width - sum(widths.values()) - len(_GAP) * (len(widths) - 1)
    for place in widths:
        if data.layout[place].content in _SHARES:
            more = min(left, _longest(data, place) - widths[place])
            widths[place] += more
            left -= more
    while grown := _lower_heading(data, widths, left):
        place, more = grown
        widths[place] += more
        left -= more
    return widths


def _lower_heading(data: TableData, widths: dict[int, int], left: int) -> tuple[int, int] | None:
    """The column with the highest heading that `left` characters can make lower.

    Returns its place and how many characters that takes; None if there is none.
    """
    heights = {place: len(wrap(data.columns[place], width)) for place, width in widths.items()}
    for place in sorted(heights, key=lambda place: -heights[place]):
        heading, width = data.columns[place], widths[place]
        for more in range(1, left + 1):
            if len(wrap(heading, width + more)) < heights[place]:
                return place, more
    return None


def _as_table(data: TableData, shown: Sequence[int], widths: dict[int, int]) -> list[Text]:
    headings = [Text(data.columns[place]) for place in shown]
    rows = [[_text(row[place]) for place in shown] for row in data.rows]
    columns = [data.layout[place] for place in shown]
    sizes = [widths[place] for place in shown]
    lines = list(_lines(headings, columns, sizes, from_below=True))
    for row in rows:
        lines += _lines(row, columns, sizes)
    return lines


def _text(cell: Cell) -> Text:
    return Text(cell.text, style="dim" if cell.grey else "")


def _lines(
    cells: Sequence[Text],
    columns: Sequence[Column],
    widths: Sequence[int],
    from_below: bool = False,
) -> Iterator[Text]:
    """A row as lines, of which there are several where a cell wraps."""
    wrapped = [wrap(cell.plain, width) for cell, width in zip(cells, widths, strict=True)]
    height = max(map(len, wrapped))
    if from_below:
        wrapped = [[""] * (height - len(texts)) + texts for texts in wrapped]
    for texts in zip_longest(*wrapped, fillvalue=""):
        line = Text()
        for cell, column, width, text in zip(cells, columns, widths, texts, strict=True):
            space = " " * (width - cell_len(text))
            line.append(_GAP if line else "")
            line.append(space if column.content is Content.NUMBER else "")
            line.append(text, style=cell.style)
            line.append("" if column.content is Content.NUMBER else space)
        line.rstrip()
        yield line


def _as_list(data: TableData, width: int) -> list[Text]:
    """A block for each row, with a line `heading  value` for each cell that is not empty."""
    longest = max(map(cell_len, data.columns))
    margin = min(longest, max(_longest_word(data.columns), width // 3))
    lines: list[Text] = []
    for row in data.rows:
        lines += [Text()] if lines else []
        for column, cell in zip(data.layout, row, strict=True):
            if cell.text:
                lines += _entry(column, cell, margin, width)
    return lines


def _entry(column: Column, cell: Cell, margin: int, width: int) -> Iterator[Text]:
    heading, room = wrap(column.heading, margin), width - margin - len(_GAP)
    values = wrap(cell.text, room) if column.content in _SHARES else [cell.text]
    if max(map(cell_len, values)) > room:  # below its heading
        yield from map(Text, wrap(column.heading, width))
        values = wrap(cell.text, width - 2) if column.content in _SHARES else values
        indent = _GAP if max(map(cell_len, values)) <= width - 2 else ""
        yield from (Text(indent + value, style=_text(cell).style) for value in values)
        return
    for key, value in zip_longest(heading, values, fillvalue=""):
        line = Text(key + " " * (margin - cell_len(key)) + _GAP)
        line.append(value, style=_text(cell).style)
        line.rstrip()
        yield line


def _about(hidden: Sequence[str], ways: Sequence[str], width: int) -> list[str]:
    """`2 columns hidden (seeds, tried): --wide, --format csv`."""
    if not hidden:
        return []
    many = "s" if len(hidden) > 1 else ""
    shown = f": {', '.join(ways)}" if ways else ""
    return wrap(f"{len(hidden)} column{many} hidden ({', '.join(hidden)}){shown}", width)
