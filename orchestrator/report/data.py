"""The section on the data: which rows of each split were used, dropped, cut or odd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orchestrator.compare.output.tables import TableData
from orchestrator.report.parts import Section, Table, Text
from trainer.data.left_out import LeftOut, by_reason, of_rows

if TYPE_CHECKING:
    from orchestrator.ledger import TrialRecord


def section(trials: Sequence[TrialRecord]) -> Section:
    """What the trials recorded of their files; a split that they read in two ways has two rows."""
    result = Section("data", "Data", folded=True)
    found: dict[str, LeftOut] = {}
    for trial in trials:
        for part in of_rows(trial.identity.get("rows")):
            found.setdefault(repr(part), part)
    if not found:
        return result
    lost = [part for part in found.values() if part.lost]
    total = sum(part.lost for part in lost)
    result.parts.append(Text(f"{total:,} rows were dropped." if lost else "No row was dropped."))
    data = TableData(["task", "split", "usable rows", "dropped", "cut or odd", "read as"])
    for part in sorted(found.values(), key=lambda part: part.task):
        data.add(
            part.task,
            part.split,
            f"{part.usable:,}",
            by_reason(part.dropped, part.usable + part.lost) or "none",
            by_reason(part.noted, part.usable) or "none",
            part.dialect or "-",
        )
    result.parts.append(Table("The rows of the files, as the trials recorded them.", data))
    return result
