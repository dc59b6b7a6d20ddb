"""Sweeps of a folder, trials of a sweep, details of a trial: the data of the reading commands."""

from __future__ import annotations

import os
import statistics
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.errors import UserError, listed, unknown_name
from orchestrator.ledger import RESOLVED, Ledger, Reading, TrialRecord
from orchestrator.ledger.best_configuration import best_of, counted_score
from orchestrator.ledger.best_epoch import both_epochs
from orchestrator.ledger.current import current
from orchestrator.ledger.driver_status import WAITING, Live
from orchestrator.ledger.evaluations import on_equal_examples
from orchestrator.ledger.labels import labels
from orchestrator.ledger.resolved_file import json_value, read_resolved, resolved_spec
from trainer.metrics import FIRST_CLOCK, clock_of
from trainer.storage.folder import Refused, is_inside, is_uri
from trainer.storage.open import open_folder

#: Sweeps or trials that an error names.
_LISTED = 12


def find_sweep(name: str, out: str) -> Ledger:
    """The sweep of that name below `out`, or in the folder or at the URI `name`.

    `arrp` also finds the sweep of a profile, `arrp-embedded`, if there is only one.
    """
    given = open_folder(name if is_uri(name) else Path(name).expanduser().resolve())
    ledgers = [Ledger(out, name)] if is_plain(name) else []
    if given.name:
        ledgers.append(Ledger(given.parent, given.name))
    for ledger in ledgers:
        if ledger.folder.has(RESOLVED) or ledger.folder.has("trials"):
            return ledger
    names = sweep_names(out)
    profiles = [each for each in names if each.startswith(f"{name}-")]
    if len(profiles) == 1:
        return Ledger(out, profiles[0])
    said = f"no sweep {name!r} in {out}"
    raise unknown_name(said, name, profiles or names, known="known", most=_LISTED)


def sweep_names(out: str) -> list[str]:
    """Folders below `out` that hold a sweep."""
    folder = open_folder(out)
    return [n for n in folder.folders() if is_plain(n) and folder.child(n).has(RESOLVED)]


def is_plain(name: str) -> bool:
    """Whether it is a printable name without a path."""
    return is_inside(name) and "/" not in name and name.isprintable()


def data_folders(ledger: Ledger, root: str | None = None) -> dict[str, str]:
    """Where the data of a sweep are today: `root` and `cache`, where they are known.

    The sweep file's folders are newer than the trials'.

    Args:
        root: the folder of the data, if the user names one.
    """
    of_spec = (resolved_spec(ledger).get("base") or {}).get("data") or {}
    where = {key: of_spec[key] for key in ("root", "cache") if isinstance(of_spec.get(key), str)}
    return where if root is None else {**where, "root": os.path.expanduser(root)}


def question(ledger: Ledger) -> str:
    """The sweep's question from sweep.yaml."""
    return _question(resolved_spec(ledger))


def sweep_row(ledger: Ledger) -> dict[str, Any]:
    """`sweep_summary` for a list of sweeps: one that cannot be read does not hide the others."""
    try:
        return sweep_summary(ledger, Live.of(ledger))
    except OSError as error:
        reason = f"{error.filename or ledger.folder.path}: {error.strerror or error}"
    except Refused as error:
        reason = str(error)
    return {
        "name": ledger.name,
        "question": f"cannot be read: {reason}",
        "trials": {},
        "best_dev_score": None,
        "folder": ledger.folder.path,
    }


def _question(spec: Mapping[str, Any]) -> str:
    return str(spec.get("question", ""))


def sweep_summary(ledger: Ledger, live: Live) -> dict[str, Any]:
    """A sweep's row: question, trials by status, best score.

    The best score is the mean over the seeds of the best configuration.  Trials that its driver has
    planned and not begun count as waiting.
    """
    reading, trials = live.reading, live.reading.trials
    spec, wrong = read_resolved(ledger)
    counting = on_equal_examples(current(spec, trials))
    best = [counted_score(trial) for trial in best_of(counting)]
    counts = Counter(trial.status for trial in trials)
    if reading.unreadable:
        counts["unreadable"] = len(reading.unreadable)
    if live.not_begun:
        counts[WAITING] += live.not_begun
    return {
        "name": ledger.name,
        "question": wrong or _question(spec),
        "trials": dict(sorted(counts.items())),
        "best_dev_score": statistics.fmean(best) if best else None,
        "folder": ledger.folder.path,
    }


def find_trial(ledger: Ledger, name: str) -> TrialRecord:
    """The trial with this id, or the only one whose id starts with it."""
    ids = ledger.trial_ids()
    matches = [name] if name in ids else [trial_id for trial_id in ids if trial_id.startswith(name)]
    trial = ledger.trial(matches[0]) if len(matches) == 1 else None
    if trial is not None:
        return trial
    if len(matches) == 1 and (reason := ledger.why_unreadable(matches[0])):
        raise UserError(f"{matches[0]} cannot be read: {reason}")
    if matches:
        which = f"{len(matches)} trials start with {name!r} in {ledger.name}"
        raise UserError(f"{which}: {listed(matches, _LISTED)}")
    said = f"no trial {name!r} in {ledger.name}"
    raise unknown_name(said, name, ids, known="known", most=_LISTED)


def trial_summaries(reading: Reading) -> list[dict[str, Any]]:
    """A row for each trial; at the end those that cannot be read, with the reason."""
    named = labels({trial.trial_id: trial.train_config for trial in reading.trials})
    rows = [
        {**trial_summary(trial), "configuration": named[trial.trial_id]} for trial in reading.trials
    ]
    for name, reason in reading.unreadable.items():
        row = {
            "trial_id": name, "config_id": "", "configuration": "", "status": "unreadable",
            "reason": reason, "epochs": 0, "first_clock": False,
        }  # fmt: skip
        unknown = dict.fromkeys(
            ("seed", "epochs_wanted", "score", "epoch", "dev_score", "last_dev_score")
            + ("best_epoch", "best_dev_score", "optimism", "minutes_per_epoch")
        )
        rows.append(row | unknown)
    return rows


def trial_summary(trial: TrialRecord) -> dict[str, Any]:
    """A trial's row."""
    counted = trial.records[trial.epoch - 1] if trial.records else {}
    return {
        "trial_id": trial.trial_id,
        "config_id": trial.identity.get("config_id", ""),
        "seed": trial.config.get("seed"),
        "status": trial.status,
        "reason": trial.reason,
        "epochs": len(trial.records),
        "epochs_wanted": trial.config.get("epochs"),
        "score": trial.score,
        "epoch": trial.epoch,
        "dev_score": counted.get("dev_score"),
        **both_epochs(trial),
        "minutes_per_epoch": trial.summary.get("minutes_per_epoch"),
        "first_clock": any(clock_of(record) == FIRST_CLOCK for record in trial.records),
    }


def trial_details(trial: TrialRecord) -> dict[str, Any]:
    """Everything in a trial's directory, as plain JSON values."""
    details: dict[str, Any] = json_value(asdict(trial))
    return details
