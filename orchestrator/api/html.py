"""HTML for notebooks, light and dark: it takes the page's own colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING

from trainer.printable import printable

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.compare.output.tables import TableData

#: Rows and columns of a table that a notebook shows.
ROWS, COLUMNS = 10, 12
#: Characters of a cell; the rest is its tip.
_LONG = 48
# `.orch.orch` counts as much as the rules of JupyterLab for tables, and comes later.
# `currentColor` and grey with an alpha are readable on white and on black.
_STYLE = """<style>
.orch {font-variant-numeric: tabular-nums; line-height: 1.45; max-width: 100%}
.orch div {overflow-x: auto}
.orch p {margin: .35em 0; max-width: 75ch}
.orch.orch table {border-collapse: collapse; margin: .5em 0; border: 0; font-size: .92em}
.orch.orch th, .orch.orch td {padding: .2em .7em .2em 0; border: 0; white-space: nowrap;
 vertical-align: top; text-align: right; background: none; color: inherit}
.orch.orch th {font-weight: 600; border-bottom: 1px solid rgba(128,128,128,.55)}
.orch.orch td {border-bottom: 1px solid rgba(128,128,128,.2)}
.orch.orch .t {text-align: left}
.orch.orch .w {white-space: normal; min-width: 14em; max-width: 36em}
.orch .g {opacity: .65}
.orch.orch pre {margin: .35em 0; white-space: pre-wrap; background: none; color: inherit}
.orch .v {font-weight: 700; padding: .05em .5em; border: 1px solid currentColor;
 border-radius: .3em; margin-right: .4em; white-space: nowrap}
</style>"""


def page(*parts: str) -> str:
    """The parts in one block with its style."""
    return printable(f'{_STYLE}<div class="orch">{"".join(filter(None, parts))}</div>')


def text(words: str, *, grey: bool = False) -> str:
    """A paragraph; empty for no words."""
    kind = ' class="g"' if grey else ""
    return f"<p{kind}>{escape(words)}</p>" if words else ""


def verdict(words: str, reason: str) -> str:
    """The verdict in a frame, and its reason."""
    return f'<p><span class="v">{escape(words)}</span>{escape(reason)}</p>'


def code(lines: str) -> str:
    return f"<pre>{escape(lines)}</pre>" if lines else ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int] = ()) -> str:
    """A table of texts.

    Args:
        left: the columns of words; the others are numbers and stand to the right.
    """
    sides = set(left)
    head = "".join(_cell("th", name, number in sides) for number, name in enumerate(columns))
    body = "".join(
        f"<tr>{''.join(_cell('td', cell, number in sides) for number, cell in enumerate(row))}</tr>"
        for row in rows
    )
    return f"<div><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"


def data_table(data: TableData) -> str:
    """A table of a comparison."""
    texts = [number for number in range(len(data.columns)) if data.is_text(number)]
    return table(data.columns, ([cell.text for cell in row] for row in data.rows), texts)


def arrow_table(data: pa.Table) -> str:
    """The first rows of a pyarrow table and its size; of many columns, those that vary."""
    import pyarrow.types as types

    names = data.column_names
    if len(names) > COLUMNS:
        names = [name for name in names if _varies(data, name)]
    shown = data.slice(0, ROWS).select(names[:COLUMNS])
    left = [
        number
        for number, field in enumerate(shown.schema)
        if not (types.is_floating(field.type) or types.is_integer(field.type))
    ]
    rows = [[_value(value) for value in row.values()] for row in shown.to_pylist()]
    size = f"{data.num_rows:,} rows, {data.num_columns} columns"
    hidden = data.num_columns - shown.num_columns
    more = f"; {hidden} of them are not shown, .column_names has all" if hidden else ""
    return page(table(shown.column_names, rows, left), text(f"{size}{more}", grey=True))


def _varies(data: pa.Table, name: str) -> bool:
    """Whether a column has several values; of a single row, every column."""
    if data.num_rows < 2:
        return True
    column = data[name].combine_chunks()
    return (
        len((column.dictionary_decode() if hasattr(column, "dictionary") else column).unique()) > 1
    )


def _cell(kind: str, value: str, left: bool) -> str:
    names = " ".join(["t"] * left + ["w"] * (len(value) > _LONG))
    return f'<{kind} class="{names}">{escape(value)}</{kind}>'


def _value(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return "" if value is None else str(value)
