"""How a notebook shows our pyarrow tables, which have no HTML of their own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orchestrator.api import html

if TYPE_CHECKING:
    import pyarrow as pa

#: The key of a table's metadata that says that it is ours.
_MARK = b"orchestrator"


def shown_as_html(table: pa.Table, what: str) -> pa.Table:
    """The table, marked so that a notebook shows it as HTML; what is selected from it, too."""
    if "IPython" in sys.modules:
        _teach_ipython()
    return table.replace_schema_metadata({**(table.schema.metadata or {}), _MARK: what.encode()})


def _teach_ipython() -> None:
    """Give IPython the HTML of our tables.  Tables without our mark are shown as before."""
    from IPython import get_ipython

    shell = get_ipython()
    if shell is None:
        return
    formatter = shell.display_formatter.formatters["text/html"]
    if "pyarrow.lib.Table" not in {f"{m}.{n}" for m, n in formatter.deferred_printers}:
        formatter.for_type_by_name("pyarrow.lib", "Table", _of_ours)


def _of_ours(table: pa.Table) -> str | None:
    return html.arrow_table(table) if _MARK in (table.schema.metadata or {}) else None
