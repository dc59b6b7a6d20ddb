"""Fill the tables of methods.md from the lists that the code reads, and from the search spaces.

    python docs/reference/tables.py            # write the tables into the page
    python docs/reference/tables.py --check    # exit 1 if the page differs, write nothing

A table stands between `<!-- generated: methods tables | samplers -->` and `<!-- end -->`.  The rows
that search spaces quote from the papers stand below `<!-- generated: published rows -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from orchestrator.spec import load_spec
from orchestrator.spec.published import PublishedRow
from trainer.combiners.registry import COMBINERS
from trainer.config.choices import (
    FROZEN_SETS,
    HEADS,
    PAIR_FEATURES,
    PAIR_MODES,
    POOLINGS,
    SCHEDULES,
)
from trainer.config.task_choices import CLASS_WEIGHTS, LOSSES, METRICS, PAIR_LOSSES
from trainer.registry import Registry
from trainer.samplers.registry import SAMPLERS

PAGE = Path(__file__).resolve().parent / "methods.md"
SPACES = PAGE.parents[2] / "search_spaces"
#: Quotes rows of other spaces again.
AGAIN = ("study.yaml",)
LISTS: dict[str, Registry[Any]] = {
    "samplers": SAMPLERS,
    "combiners": COMBINERS,
    "pair modes": PAIR_MODES,
    "poolings": POOLINGS,
    "pair features": PAIR_FEATURES,
    "heads": HEADS,
    "losses": LOSSES,
    "class weights": CLASS_WEIGHTS,
    "pair losses": PAIR_LOSSES,
    "metrics": METRICS,
    "frozen sets": FROZEN_SETS,
    "schedules": SCHEDULES,
}
_BLOCK = re.compile(
    r"(?P<opening><!-- generated: methods tables \| (?P<list>[\w ]+) -->\n).*?(?=<!-- end -->)",
    re.DOTALL,
)
_PUBLISHED = re.compile(
    r"(?P<opening><!-- generated: published rows -->\n).*?(?=<!-- end -->)", re.DOTALL
)


def table(entries: Registry[Any]) -> str:
    """A Markdown table of a list; columns that would be empty are left out."""
    columns = {
        "name": [f"`{entry.name}`" for entry in entries.values()],
        "what it does": [entry.summary for entry in entries.values()],
        "keys": [", ".join(f"`{key}`" for key in entry.keys) for entry in entries.values()],
        "paper": [entry.paper for entry in entries.values()],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    return _lines([list(columns), *map(list, zip(*columns.values(), strict=True))]) + "\n"


def _lines(rows: list[list[str]]) -> str:
    """Rows of cells as a Markdown table.  The first row is the head."""
    cells = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    head, *body = [f"| {' | '.join(row)} |" for row in cells]
    return "\n".join([head, "|---" * len(rows[0]) + "|", *body])


def published_rows() -> str:
    """For each space that quotes a paper: its source, and a table of its rows."""
    parts = []
    for file in sorted(SPACES.glob("*.yaml")):
        published = load_spec(str(file)).published
        if published is None or file.name in AGAIN:
            continue
        parts.append(f"**{published.source}**: `search_spaces/{file.name}`. {published.note}")
        rows = [[row.method, _configuration(row), row.note] for row in published.rows]
        parts.append(_lines([["row", "configuration", "what else differs"], *rows]))
    return "\n\n".join(parts) + "\n"


def _configuration(row: PublishedRow) -> str:
    """The keys of a row; by task where it joins several trials."""
    texts = [(path[1:], _keys(params)) for path, params in row.configs()]
    return "; ".join(f"{path[0]}: `{text}`" if path else f"`{text}`" for path, text in texts)


def _keys(params: dict[str, Any]) -> str:
    return yaml.safe_dump(params, default_flow_style=True, sort_keys=False, width=1000).strip()


def filled(page: str) -> str:
    """The page with today's tables.  Raises `KeyError` for a list that there is not."""
    page = _BLOCK.sub(lambda block: f"{block['opening']}\n{table(LISTS[block['list']])}\n", page)
    return _PUBLISHED.sub(lambda block: f"{block['opening']}\n{published_rows()}\n", page)


def main() -> int:
    page = PAGE.read_text()
    wanted = filled(page)
    if "--check" in sys.argv[1:]:
        if page != wanted:
            print(f"{PAGE.name} differs from the lists: run python docs/reference/tables.py")
        return int(page != wanted)
    PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
