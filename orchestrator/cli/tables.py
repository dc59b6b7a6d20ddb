"""The tables that the reading commands print: sweeps, trials, epochs, data."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.ledger import TrialRecord
from orchestrator.ledger.best_epoch import both_epochs
from orchestrator.table_data import Column, Content, TableData
from trainer.config import TrainConfig
from trainer.metrics import (
    EPOCH,
    FIRST_CLOCK,
    PHASE,
    TASK,
    Field,
    Kind,
    Place,
    clock_of,
    dotted,
    field_at,
    numbers,
)

#: Of a trial's log that `orch show` prints; `--json` has them all.
LOG_LINES = 15
#: Of the lengths of sentences, in tokens.
_LENGTHS = ("mean", "p95", "max")


def sweeps_table(summaries: Iterable[Mapping[str, Any]]) -> TableData:
    table = TableData(
        [
            Column("sweep"),
            Column("trials", Content.SENTENCE, 1),
            Column("best dev_score", Content.NUMBER, 2),
            Column("question", Content.SENTENCE, 3),
        ]
    )
    for row in summaries:
        counts = ", ".join(f"{n} {status}" for status, n in row["trials"].items()) or "none"
        table.add(row["name"], counts, _number(row["best_dev_score"], 4), row["question"])
    return table


def trials_table(trials: Iterable[Mapping[str, Any]]) -> TableData:
    table = TableData(
        [
            Column("trial"),
            Column("configuration", Content.LABEL, 4),
            Column("seed", Content.NUMBER, 5),
            Column("status", Content.NAME, 1),
            Column("epochs", Content.NUMBER, 6),
            Column("dev_score", Content.NUMBER, 2),
            Column("best epoch", Content.NUMBER, 8),
            Column("optimism", Content.NUMBER, 9),
            Column("min/epoch", Content.NUMBER, 7),
            Column("reason", Content.SENTENCE, 3),
        ]
    )
    for row in trials:
        table.add(
            row["trial_id"],
            row["configuration"],
            _shown(row["seed"]),
            row["status"],
            f"{row['epochs']}/{_shown(row['epochs_wanted'])}",
            _number(row["dev_score"], 4),
            _best(row),
            _number(row["optimism"], 4),
            _number(row["minutes_per_epoch"], 3) + ("°" if row["first_clock"] else ""),
            str(row["reason"]).partition("\n")[0],
        )
    return table


def unusual(config: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The keys of a trial's config, nested ones too, that do not have their default."""
    usual = TrainConfig().to_dict() if defaults is None else defaults
    return {
        key: unusual(value, usual[key])
        if isinstance(value, dict) and isinstance(usual.get(key), dict)
        else value
        for key, value in config.items()
        if value != usual.get(key)
    }


def _best(row: Mapping[str, Any]) -> str:
    """`0.7812 (7)`: the best epoch's dev_score, and its number."""
    if row["best_epoch"] is None:
        return "-"
    return f"{_number(row['best_dev_score'], 4)} ({row['best_epoch']})"


def counted_line(trial: TrialRecord) -> str:
    """Which epoch counts, and how much too high the best one's score is."""
    both = both_epochs(trial)
    line = (
        f"epoch {trial.epoch} counts (score: {trial.score}); "
        f"best epoch {both['best_epoch']}: dev_score {both['best_dev_score']:.4f}"
    )
    return line if both["optimism"] is None else f"{line}, optimism {both['optimism']:.4f}"


def epochs_table(trial: TrialRecord) -> TableData:
    """A line per epoch, with the columns that `trainer.metrics` names for it."""
    columns = _shown_fields(trial)
    headings = [Column(heading, Content.NUMBER, 1) for heading in columns]
    table = TableData([Column("epoch", Content.NUMBER), *headings])
    for record in trial.records:
        values = numbers(record)
        cells = []
        for place, field in columns.values():
            mark = ""
            if field.is_speed and place in values:
                mark = "*" if record.get("contended") else ""
                mark += "°" if clock_of(record) == FIRST_CLOCK else ""
            cells.append(_number(values.get(place), field.digits) + mark)
        table.add(str(record["epoch"]), *cells)
    return table


def _shown_fields(trial: TrialRecord) -> dict[str, tuple[Place, Field]]:
    """The columns of `epochs_table` by heading; a task's stand where the table has the tasks."""
    tasks = trial.records[-1]["tasks"] if trial.records else {}
    columns: dict[str, tuple[Place, Field]] = {}
    for field in EPOCH.values():
        if field.show:
            columns[field.show] = (field.name,), field
        if field.kind is not Kind.TASKS:
            continue
        for inner in TASK.values():
            for task, values in tasks.items():
                if inner.show and inner.name in values:
                    heading = inner.show.format(task=task)
                    columns[heading] = (field.name, task, inner.name), inner
    return columns


def evaluation_lines(trial: TrialRecord) -> list[str]:
    """`evaluation all (epoch 3): dev_score 0.6630  sst 0.5120 (9 examples)`, one a line."""
    lines = []
    for name, record in sorted(trial.evaluations.items()):
        values = [] if record["dev_score"] is None else [f"dev_score {record['dev_score']:.4f}"]
        values += [
            f"{task} {of['dev_metric']:.4f} ({of['examples']:,} examples)"
            for task, of in record["tasks"].items()
        ]
        lines.append(f"evaluation {name} (epoch {record['epoch']}): {'  '.join(values)}")
    return lines


def numbers_table(trial: TrialRecord) -> TableData:
    """Every number of a trial's last epoch: a line each; columns for the epoch as a whole, for its
    tasks and its phases."""
    lines: dict[str, dict[str, str]] = {}
    units: dict[str, str] = {}
    columns = ["epoch"]
    for place, value in numbers(trial.records[-1]).items():
        column, name = "epoch", dotted(place)
        if place[0] in ("tasks", "phases"):
            column, name = f"{place[0].removesuffix('s')} {place[1]}", dotted(place[2:])
        if column not in columns:
            columns.append(column)
        lines.setdefault(name, {})[column] = _rounded(value)
        if field := field_at(place):
            units[name] = field.unit
    columns = sorted(columns, key=lambda column: column.startswith("phase "))  # tasks first
    listed = list(dict.fromkeys([*EPOCH, *TASK, *PHASE]))
    table = TableData(
        [
            Column("number"),
            Column("unit", Content.NAME, 2),
            *(Column(column, Content.NUMBER, 1) for column in columns),
        ]
    )
    for name in sorted(lines, key=lambda n: _position(n.partition(".")[0], listed)):
        cells = (lines[name].get(column, "") for column in columns)
        table.add(name, units.get(name, ""), *cells)
    return table


def _position(name: str, listed: Sequence[str]) -> tuple[int, str]:
    """Where a number stands among those that are listed; the others follow by their names."""
    return (listed.index(name) if name in listed else len(listed)), name


def stats_table(stats: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> TableData:
    """Per task and split: rows, what was dropped or noted, labels, lengths in tokens."""
    table = TableData(
        [
            Column("task"),
            Column("split"),
            Column("rows", Content.NUMBER),
            Column("dropped", Content.SENTENCE, 1),
            Column("noted", Content.SENTENCE, 3),
            Column("labels", Content.SENTENCE, 2),
            *(Column(key, Content.NUMBER, 4) for key in _LENGTHS),
        ]
    )
    for task, splits in stats.items():
        for split, found in splits.items():
            tokens = found["tokens"]
            table.add(
                task,
                split,
                f"{found['rows']:,}",
                _counts(found.get("dropped", {}), "none"),
                _counts(found.get("noted", {}), "none"),
                _counts(found["labels"], "-"),
                *(str(tokens[key]) for key in _LENGTHS),
            )
    return table


def log_tail(lines: Sequence[str]) -> str:
    """The last lines of a trial's log."""
    kept = lines[-LOG_LINES:]
    return f"last {len(kept)} lines of its log:\n" + "\n".join(f"  {line}" for line in kept)


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def _counts(counts: Mapping[str, int], nothing: str) -> str:
    return ", ".join(f"{key}: {count}" for key, count in counts.items()) or nothing


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _rounded(value: float) -> str:
    """Whole where it is whole or large, else to four digits."""
    whole = isinstance(value, int) or abs(value) >= 1000
    return f"{value:,.0f}" if whole else f"{value:.4g}"
