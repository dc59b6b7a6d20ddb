"""What the reading commands show: sweeps of a folder, trials of a sweep, epochs of a trial."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.yaml_lines import YamlError, read


class NotFound(Exception):
    """A sweep, trial or folder that is not there; the text says what is."""


def find_sweep(name: str, out: str) -> Ledger:
    """The sweep of that name below `out`, or in the folder that `name` is.

    `arrp` also finds the sweep of a profile, `arrp-embedded`, if it is the only one there.
    """
    given = Path(name).expanduser()
    for parent, folder in ((Path(out), name), (given.resolve().parent, given.resolve().name)):
        if (parent / folder / "sweep.yaml").is_file() or (parent / folder / "trials").is_dir():
            return Ledger(parent, folder)
    names = sweep_names(out)
    profiles = [known for known in names if known.startswith(f"{name}-")]
    if len(profiles) == 1:
        return Ledger(Path(out), profiles[0])
    known = ", ".join(profiles or names) or "there is none"
    raise NotFound(f"no sweep {name!r} in {out}; known: {known}")


def sweep_names(out: str) -> list[str]:
    """Folders below `out` that hold a sweep."""
    folder = Path(out)
    if not folder.is_dir():
        return []
    return sorted(path.parent.name for path in folder.glob("*/sweep.yaml"))


def resolved_spec(ledger: Ledger) -> dict[str, Any]:
    """sweep.yaml as it stands; empty where it is missing or cannot be read."""
    try:
        value = read((ledger.folder / "sweep.yaml").read_text(encoding="utf-8")).value
    except (OSError, YamlError):
        return {}
    return value if isinstance(value, dict) else {}


def sweep_summary(ledger: Ledger) -> dict[str, Any]:
    """One sweep in a line: question, trials by status, best score."""
    trials = ledger.trials()
    scores = [trial.summary["dev_score"] for trial in trials if trial.status == "complete"]
    return {
        "name": ledger.folder.name,
        "question": resolved_spec(ledger).get("question", ""),
        "trials": dict(sorted(Counter(trial.status for trial in trials).items())),
        "best_dev_score": max(scores, default=None),
        "folder": str(ledger.folder),
    }


def sweeps_table(summaries: Iterable[Mapping[str, Any]]) -> Table:
    table = _table("sweep", "trials", ">best dev_score", "question")
    for row in summaries:
        counts = ", ".join(f"{n} {status}" for status, n in row["trials"].items()) or "none"
        table.add_row(row["name"], counts, _number(row["best_dev_score"], 4), row["question"])
    return table


def find_trial(ledger: Ledger, name: str) -> TrialRecord:
    """The trial that `name` is, or that alone begins with it."""
    ids = ledger.trial_ids()
    matches = [name] if name in ids else [trial_id for trial_id in ids if trial_id.startswith(name)]
    trial = ledger.trial(matches[0]) if len(matches) == 1 else None
    if trial is None:
        which = f"{name!r} begins {len(matches)} trials" if matches else f"no trial {name!r}"
        known = ", ".join(matches or ids) or "there is none"
        raise NotFound(f"{which} in {ledger.folder.name}; known: {known}")
    return trial


def trial_summary(trial: TrialRecord) -> dict[str, Any]:
    """One trial in a line."""
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
    table = _table("trial", ">seed", "status", ">epochs", ">dev_score", ">min/epoch", "reason")
    for row in trials:
        table.add_row(
            row["trial_id"],
            str(row["seed"]),
            row["status"],
            f"{row['epochs']}/{row['epochs_wanted']}",
            _number(row["dev_score"], 4),
            _number(row["minutes_per_epoch"], 3),
            Text(str(row["reason"]).partition("\n")[0]),
        )
    return table


def trial_details(trial: TrialRecord) -> dict[str, Any]:
    """Everything that a trial's directory says of it."""
    return asdict(trial)


def epochs_table(trial: TrialRecord) -> Table:
    tasks = trial.records[-1]["tasks"] if trial.records else {}
    names = [name for name, values in tasks.items() if "dev_metric" in values]
    table = _table(
        *(">epoch", ">dev_score", ">dev_mean", *(f">{name}" for name in names)),
        *(">min", ">updates", ">examples", ">conflicts"),
    )
    for record in trial.records:
        table.add_row(
            str(record["epoch"]),
            _number(record["dev_score"], 4),
            _number(record["dev_mean"], 4),
            *(_number(record["tasks"][name]["dev_metric"], 3) for name in names),
            _number(record["minutes_per_epoch"], 3) + ("*" if record["contended"] else ""),
            str(record["updates"]),
            f"{record['examples']:,}",
            _number(record["conflict_share"], 3),
        )
    return table


def stats_table(stats: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Table:
    """Per task and split: rows, what was dropped or noted, labels, lengths in tokens."""
    table = _table("task", "split", ">rows", "dropped", "noted", "labels", ">mean", ">p95", ">max")
    for task, splits in stats.items():
        for split, found in splits.items():
            tokens = found["tokens"]
            table.add_row(
                task,
                split,
                f"{found['rows']:,}",
                _counts(found.get("dropped", {}), "none"),
                _counts(found.get("noted", {}), "none"),
                _counts(found["labels"], "-"),
                *(str(tokens[key]) for key in ("mean", "p95", "max")),
            )
    return table


def _counts(counts: Mapping[str, int], nothing: str) -> str:
    return ", ".join(f"{key}: {count}" for key, count in counts.items()) or nothing


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _table(*columns: str) -> Table:
    """Columns by name; `>` in front of one sets it to the right."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(
            column.removeprefix(">"), justify="right" if right else "left", overflow="fold"
        )
    return table
