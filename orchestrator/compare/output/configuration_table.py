"""Every configuration of a sweep as a table, and its footnotes."""

from __future__ import annotations

from orchestrator.compare.configurations import Comparison
from orchestrator.compare.output.tables import Cell, Sheet
from trainer.config.choices import METRICS

#: Configurations that a table shows.
SHOWN = 30


def configurations_sheet(comparison: Comparison, *, metrics: bool = True) -> Sheet:
    """The best rows; `metrics`: a task's column says which metric it holds."""
    rows = comparison.rows
    names = list(dict.fromkeys(name for row in rows for name in row.tasks))
    kinds = {name: row.metrics[name] for row in rows for name in row.tasks}
    short = {name: METRICS[kind].short if kind in METRICS else kind for name, kind in kinds.items()}
    tasks = [f"{name} {short[name]}" if metrics else name for name in names]
    columns = ["configuration", "seeds", "dev_score", "dev_mean", *tasks]
    sheet = Sheet([*columns, "min/epoch", "examples/epoch"])
    for row in rows[:SHOWN]:
        mark = "" if row.contended is False else "*" if row.contended else "?"
        sheet.add(
            row.label,
            str(len(row.seeds)),
            row.dev_score.text(4),
            row.dev_mean.text(4),
            *(row.tasks[name].text(3) if name in row.tasks else "-" for name in names),
            Cell(row.minutes_per_epoch.text(3) + mark, grey=bool(mark)),
            f"{row.examples_per_epoch:,.0f}",
        )
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
    if any(row.contended for row in comparison.rows):
        notes.append("* contended: something else ran on the device; no speed-up is claimed.")
    if any(row.contended is None for row in comparison.rows):
        notes.append("? unknown whether something else ran on the device.")
    return notes
