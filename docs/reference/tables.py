"""Fill the tables of methods.md from the lists that the code reads.

    python docs/reference/tables.py            # write the tables into the page
    python docs/reference/tables.py --check    # exit 1 if the page differs, write nothing

A table stands between `<!-- generated: methods tables | samplers -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from trainer.combiners.registry import COMBINERS
from trainer.config.choices import (
    CLASS_WEIGHTS,
    FROZEN_SETS,
    HEADS,
    LOSSES,
    METRICS,
    PAIR_FEATURES,
    PAIR_LOSSES,
    PAIR_MODES,
    POOLINGS,
    SCHEDULES,
)
from trainer.registry import Registry
from trainer.samplers.registry import SAMPLERS

PAGE = Path(__file__).resolve().parent / "methods.md"
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


def table(entries: Registry[Any]) -> str:
    """A Markdown table of a list; columns that would be empty are left out."""
    columns = {
        "name": [f"`{entry.name}`" for entry in entries.values()],
        "what it does": [entry.summary for entry in entries.values()],
        "keys": [", ".join(f"`{key}`" for key in entry.keys) for entry in entries.values()],
        "paper": [entry.paper for entry in entries.values()],
    }
    columns = {name: cells for name, cells in columns.items() if any(cells)}
    rows = [list(columns), ["---"] * len(columns), *map(list, zip(*columns.values(), strict=True))]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows).replace("| --- ", "|---") + "\n"


def filled(page: str) -> str:
    """The page with today's tables.  Raises `KeyError` for a list that there is not."""
    return _BLOCK.sub(lambda block: f"{block['opening']}\n{table(LISTS[block['list']])}\n", page)


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
