"""Tables of the reading commands: sweeps of a folder, trials of a sweep, epochs of a trial."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.errors import UserError
from orchestrator.ledger import RESOLVED, Ledger, Reading, TrialRecord, printable
from orchestrator.ledger.labels import labels
from orchestrator.spec.yaml_lines import YamlError, read
from trainer.metrics import EPOCH, PHASE, TASK, Field, Kind, Place, dotted, field_at, numbers
from trainer.storage.folder import is_inside, is_uri
from trainer.storage.open import open_folder

#: How many lines of a trial's log `orch show` prints; `--json` has all.
LOG_LINES = 15


def find_sweep(name: str, out: str) -> Ledger:
    """The sweep of that name below `out`, or in the folder or at the URI `name`.

    `arrp` also finds the sweep of a profile, `arrp-embedded`, if there is only one.
    """
    given = open_folder(name if is_uri(name) else Path(name).expanduser().resolve())
    ledgers = [Ledger(out, name)] if _is_plain(name) else []
    if given.name:
        ledgers.append(Ledger(given.parent, given.name))
    for ledger in ledgers:
        if ledger.folder.has(RESOLVED) or ledger.folder.has("trials"):
            return ledger
    names = sweep_names(out)
    profiles = [each for each in names if each.startswith(f"{name}-")]
    if len(profiles) == 1:
        return Ledger(out, profiles[0])
    known = ", ".join(profiles or names) or "none"
    raise UserError(f"no sweep {name!r} in {out}; known: {known}")


def sweep_names(out: str) -> list[str]:
    """Folders below `out` that hold a sweep."""
    folder = open_folder(out)
    return [n for n in folder.folders() if _is_plain(n) and folder.child(n).has(RESOLVED)]


def _is_plain(name: str) -> bool:
    """Whether it is a printable name without a path."""
    return is_inside(name) and "/" not in name and name.isprintable()


def resolved_spec(ledger: Ledger) -> dict[str, Any]:
    """The content of sweep.yaml; empty if it is missing or cannot be read."""
    try:
        value = read((ledger.folder.read(RESOLVED) or b"").decode()).value
    except (OSError, UnicodeDecodeError, RecursionError, YamlError):
        return {}
    return json_value(value) if isinstance(value, dict) else {}


def question(ledger: Ledger) -> str:
    """The sweep's question from sweep.yaml."""
    return str(resolved_spec(ledger).get("question", ""))


def sweep_summary(ledger: Ledger, reading: Reading) -> dict[str, Any]:
    """A sweep's row: question, trials by status, best score."""
    trials = reading.trials
    scores = [t.summary.get("dev_score") for t in trials if t.status == "complete"]
    counts = Counter(trial.status for trial in trials)
    if reading.unreadable:
        counts["unreadable"] = len(reading.unreadable)
    return {
        "name": ledger.name,
        "question": question(ledger),
        "trials": dict(sorted(counts.items())),
        "best_dev_score": max((s for s in scores if s is not None), default=None),
        "folder": ledger.folder.path,
    }


def sweeps_table(summaries: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("sweep", "trials", ">best dev_score", "question")
    for row in summaries:
        counts = ", ".join(f"{n} {status}" for status, n in row["trials"].items()) or "none"
        best = _number(row["best_dev_score"], 4)
        table.add_row(row["name"], counts, best, Text(row["question"]))
    return table


def find_trial(ledger: Ledger, name: str) -> TrialRecord:
    """The trial with this id, or the only one whose id starts with it."""
    ids = ledger.trial_ids()
    matches = [name] if name in ids else [trial_id for trial_id in ids if trial_id.startswith(name)]
    trial = ledger.trial(matches[0]) if len(matches) == 1 else None
    if trial is not None:
        return trial
    if len(matches) == 1 and (reason := ledger.why_unreadable(matches[0])):
        raise UserError(f"{matches[0]} cannot be read: {reason}")
    which = f"{len(matches)} trials start with {name!r}" if matches else f"no trial {name!r}"
    known = ", ".join(matches or ids) or "none"
    raise UserError(f"{which} in {ledger.name}; known: {known}")


def trial_summaries(reading: Reading) -> list[dict[str, Any]]:
    """A row for each trial; at the end those that cannot be read, with the reason."""
    named = labels({trial.trial_id: trial.train_config for trial in reading.trials})
    rows = [
        {**trial_summary(trial), "configuration": named[trial.trial_id]} for trial in reading.trials
    ]
    for name, reason in reading.unreadable.items():
        row = {
            "trial_id": name, "config_id": "", "configuration": "", "status": "unreadable",
            "reason": reason, "epochs": 0,
        }  # fmt: skip
        unknown = dict.fromkeys(("seed", "epochs_wanted", "dev_score", "minutes_per_epoch"))
        rows.append(row | unknown)
    return rows


def trial_summary(trial: TrialRecord) -> dict[str, Any]:
    """A trial's row."""
    last = trial.records[-1] if trial.records else {}
    return {
        "trial_id": trial.trial_id,
        "config_id": trial.identity.get("config_id", ""),
        "seed": trial.config.get("seed"),
        "status": trial.status,
        "reason": trial.reason,
        "epochs": len(trial.records),
        "epochs_wanted": trial.config.get("epochs"),
        "dev_score": last.get("dev_score"),
        "minutes_per_epoch": trial.summary.get("minutes_per_epoch"),
    }


def trials_table(trials: Iterable[Mapping[str, Any]]) -> Table:
    table = _table(
        *("trial", "configuration", ">seed", "status", ">epochs", ">dev_score", ">min/epoch"),
        "reason",
    )
    for row in trials:
        table.add_row(
            row["trial_id"],
            Text(row["configuration"]),
            _shown(row["seed"]),
            row["status"],
            f"{row['epochs']}/{_shown(row['epochs_wanted'])}",
            _number(row["dev_score"], 4),
            _number(row["minutes_per_epoch"], 3),
            Text(str(row["reason"]).partition("\n")[0]),
        )
    return table


def trial_details(trial: TrialRecord) -> dict[str, Any]:
    """Everything in a trial's directory, as plain JSON values."""
    details: dict[str, Any] = json_value(asdict(trial))
    return details


def log_tail(lines: Sequence[str]) -> str:
    """The last lines of a trial's log, without control characters."""
    kept = [printable(line) for line in lines[-LOG_LINES:]]
    return f"last {len(kept)} lines of its log:\n" + "\n".join(f"  {line}" for line in kept)


def epochs_table(trial: TrialRecord) -> Table:
    """A row for each epoch, with the columns from `trainer.metrics`."""
    columns = _shown_fields(trial)
    table = _table(">epoch", *(f">{heading}" for heading in columns))
    for record in trial.records:
        values = numbers(record)
        cells = []
        for place, field in columns.values():
            doubtful = field.is_speed and place in values and record.get("contended")
            cells.append(_number(values.get(place), field.digits) + ("*" if doubtful else ""))
        table.add_row(str(record["epoch"]), *cells)
    return table


def _shown_fields(trial: TrialRecord) -> dict[str, tuple[Place, Field]]:
    """The columns of `epochs_table` by heading, in the order of `trainer.metrics`."""
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


def numbers_table(trial: TrialRecord) -> Table:
    """A row for each number of a trial's last epoch, with columns for the epoch, its tasks and its
    phases."""
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
    table = _table("number", "unit", *(f">{column}" for column in columns))
    for name in sorted(lines, key=lambda n: _position(n.partition(".")[0], listed)):
        cells = (lines[name].get(column, "") for column in columns)
        table.add_row(Text(name), units.get(name, ""), *cells)
    return table


def _position(name: str, listed: Sequence[str]) -> tuple[int, str]:
    """Sort key: the listed numbers in their order, then the others by name."""
    return (listed.index(name) if name in listed else len(listed)), name


def stats_table(stats: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """A row for each task and split: rows, dropped and noted ones, labels, lengths in tokens."""
    table = _table("task", "split", ">rows", "dropped", "noted", "labels", ">mean", ">p95", ">max")
    for task, splits in stats.items():
        for split, values in splits.items():
            table.add_row(
                task,
                split,
                f"{values['rows']:,}",
                _counts(values.get("dropped", {}), "none"),
                _counts(values.get("noted", {}), "none"),
                _counts(values["labels"], "-"),
                *(str(values["tokens"][key]) for key in ("mean", "p95", "max")),
            )
    return table


def json_value(value: Any) -> Any:
    """The value as plain JSON: NaN and infinities become null, keys become text."""
    text = json.dumps(value, default=str)
    return json.loads(text, parse_constant=lambda name: None)


def _shown(value: Any) -> str:
    return "-" if value is None else str(value)


def _counts(counts: Mapping[str, int], nothing: str) -> str:
    return ", ".join(f"{key}: {count}" for key, count in counts.items()) or nothing


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:,.{digits}f}"


def _rounded(value: float) -> str:
    """A whole number if it is one or large, else four digits."""
    whole = isinstance(value, int) or abs(value) >= 1000
    return f"{value:,.0f}" if whole else f"{value:.4g}"


def _table(*columns: str) -> Table:
    """A table with these columns; a leading `>` aligns a column to the right."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if right else "left", overflow="fold"
        )
    return table
