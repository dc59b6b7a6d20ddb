"""Every configuration of a sweep as a table, and its footnotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.compare.configurations import Comparison, Row
from orchestrator.table_data import Cell, Content, TableData
from orchestrator.table_data import Column as TableColumn
from trainer.config.task_choices import METRICS
from trainer.metrics import EPOCH, FIRST_CLOCK, FIRST_CLOCK_NOTE, TASK, Field, Kind, Place
from trainer.storage.summary import BEST, LAST

#: Configurations that a table shows.
SHOWN = 30


@dataclass(frozen=True)
class Column:
    """A column of the table of configurations; `task` is empty for a number of the whole epoch."""

    heading: str
    place: Place
    field: Field
    task: str = ""

    def cell(self, row: Row) -> Cell:
        """The cell in a row."""
        spread = row.numbers.get(self.place)
        if spread is None:
            return Cell("-")
        mark = row.minutes_mark if self.field.is_speed else ""
        grey = self.field.is_speed and row.contended is not False
        return Cell(spread.text(self.field.digits) + mark, grey=grey)


def columns(rows: Sequence[Row]) -> list[Column]:
    """The columns that `trainer.metrics` names, in its order."""
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


def configurations_table(comparison: Comparison, *, metrics: bool = True) -> TableData:
    """The best configurations; with `metrics`, a task's heading also names its metric."""
    shown = columns(comparison.rows)
    headings = [
        column.task if column.field is TASK["dev_metric"] and not metrics else column.heading
        for column in shown
    ]
    other = LAST if _counts_best(comparison) else BEST
    known = _knows_optimism(comparison)
    ends = [f"{other} epoch", *(["epoch optimism"] if known else [])]
    table = TableData(
        [
            TableColumn("configuration", Content.LABEL),
            TableColumn("seeds", Content.NUMBER, 2),
            *(
                TableColumn(heading, Content.NUMBER, _rank(column))
                for heading, column in zip(headings, shown, strict=True)
            ),
            *(TableColumn(heading, Content.NUMBER, 4) for heading in ends),
        ]
    )
    digits = EPOCH["dev_score"].digits
    for row in comparison.rows[:SHOWN]:
        cells = [column.cell(row) for column in shown]
        cells.append(Cell(row.both[other]["dev_score"].text(digits)))
        if known:
            optimism = row.both["optimism"].get("dev_score")
            cells.append(Cell(optimism.text(digits) if optimism else "-"))
        table.add(row.label, str(len(row.seeds)), *cells)
    return table


def _rank(column: Column) -> int:
    """A narrow terminal keeps scores, then minutes, then the tasks."""
    order = (EPOCH["dev_score"], EPOCH["minutes_per_epoch"])
    return order.index(column.field) if column.field in order else 3


def _counts_best(comparison: Comparison) -> bool:
    return any(row.score == BEST for row in comparison.rows)


def _knows_optimism(comparison: Comparison) -> bool:
    return any("dev_score" in row.both["optimism"] for row in comparison.rows)


def footnotes(comparison: Comparison) -> list[str]:
    """What a reader of the table needs to know."""
    counts = ", ".join(f"{n} {status}" for status, n in comparison.counts.items())
    notes = [f"Trials: {counts or 'none'}. Only complete ones are ranked."]
    if len(comparison.rows) > SHOWN:
        notes.append(
            f"The best {SHOWN} of {len(comparison.rows):,} configurations; --json has all of them."
        )
    counted = BEST if _counts_best(comparison) else LAST
    if any(len(row.seeds) > 1 for row in comparison.rows):
        notes.append(
            f"± is the standard deviation over seeds. Scores are those of the {counted} epoch."
        )
    if _knows_optimism(comparison):
        notes.append(
            "epoch optimism: by how much the best epoch's dev_score is too high, because the same "
            "examples chose it."
        )
    if len({row.basis["precision"] for row in comparison.rows} - {""}) > 1:
        notes.append(
            "Trials with precision: auto were computed in different precisions, because hosts of "
            "two kinds trained them. They are not compared with each other."
        )
    if any(row.contended for row in comparison.rows):
        notes.append("* something else was running on the device; no speed-up is claimed.")
    if any(row.contended is None for row in comparison.rows):
        notes.append("? unknown whether something else was running on the device.")
    if any(FIRST_CLOCK in row.clocks for row in comparison.rows):
        notes.append(FIRST_CLOCK_NOTE)
    return notes
