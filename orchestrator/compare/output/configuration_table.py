"""Every configuration of a sweep as a table, and its footnotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.compare.configurations import Comparison, Row
from orchestrator.compare.output.tables import Cell, Sheet
from trainer.config.choices import METRICS
from trainer.metrics import EPOCH, TASK, Field, Kind, Place

#: Configurations that a table shows.
SHOWN = 30


@dataclass(frozen=True)
class Column:
    """A column of the table of configurations; `task` is empty where it is of whole epochs."""

    heading: str
    place: Place
    field: Field
    task: str = ""

    def cell(self, row: Row) -> tuple[str, bool]:
        """What stands in a row, and whether it must not be relied on."""
        spread = row.numbers.get(self.place)
        if spread is None:
            return "-", False
        mark = ""
        if self.field.is_speed and row.contended is not False:
            mark = "*" if row.contended else "?"
        return spread.text(self.field.digits) + mark, bool(mark)


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns that `trainer.metrics` names; those of tasks stand where it has the tasks."""
    metrics = {name: row.metrics[name] for row in rows for name in row.tasks}
    result = []
    for key, entry in EPOCH.items():
        if entry.compare:
            result.append(Column(entry.compare, (key,), entry))
        if entry.kind is not Kind.TASKS:
            continue
        for inner in TASK.values():
            for task, metric in metrics.items() if inner.compare else ():
                short = METRICS[metric].short if metric in METRICS else metric
                heading = inner.compare.format(task=task, metric=short)
                result.append(Column(heading, (key, task, inner.name), inner, task))
    return result


def configurations_sheet(comparison: Comparison, *, metrics: bool = True) -> Sheet:
    """The best rows; `metrics`: a task's column says which metric it holds."""
    shown = columns(comparison.rows)
    headings = [
        column.task if column.field is TASK["dev_metric"] and not metrics else column.heading
        for column in shown
    ]
    sheet = Sheet(["configuration", "seeds", *headings])
    for row in comparison.rows[:SHOWN]:
        cells = [Cell(text, grey=doubtful) for text, doubtful in (c.cell(row) for c in shown)]
        sheet.add(row.label, str(len(row.seeds)), *cells)
    return sheet


def footnotes(comparison: Comparison) -> list[str]:
    """What a reader of the table must know."""
    counts = ", ".join(f"{n} {status}" for status, n in comparison.counts.items())
    notes = [f"Trials: {counts or 'none'}; only complete ones are ranked."]
    if len(comparison.rows) > SHOWN:
        notes.append(
            f"The best {SHOWN} of {len(comparison.rows):,} configurations; --json has all."
        )
    if any(len(row.seeds) > 1 for row in comparison.rows):
        notes.append("± is the standard deviation over seeds; scores are the last epoch's.")
    if len({row.basis["precision"] for row in comparison.rows} - {""}) > 1:
        notes.append(
            "Trials with precision: auto were computed in different precisions, because hosts of "
            "two kinds trained them; they are not compared with each other."
        )
    if any(row.contended for row in comparison.rows):
        notes.append("* contended: something else ran on the device; no speed-up is claimed.")
    if any(row.contended is None for row in comparison.rows):
        notes.append("? unknown whether something else ran on the device.")
    return notes
