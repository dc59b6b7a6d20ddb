"""The ledger: a sweep's trial directories read together.  Everything else is rebuilt from it."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.config import TrainConfig, check
from trainer.metrics import EPOCH, Kind, Must, is_number, summarise, value_of_trial
from trainer.storage.folder import Folder
from trainer.storage.open import open_folder
from trainer.storage.trial_directory import TrialDirectory

STATUSES = ("complete", "pruned", "failed", "unfinished")
#: A sweep's file with its resolved spec.
RESOLVED = "sweep.yaml"
_TRIAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_DEFAULTS = TrainConfig().to_dict()
#: Numbers that every epoch has; where a summary has them too, they are numbers.
_CERTAIN = [f.name for f in EPOCH.values() if f.kind is Kind.NUMBER and f.must is Must.BE_THERE]
#: A request to an object store is waiting, mostly.
_READERS = 16


@dataclass(frozen=True)
class TrialRecord:
    """What one trial directory says; `records` are its committed epochs, 1..n."""

    trial_id: str
    #: Every value of the TrainConfig, acting or not.
    config: dict[str, Any]
    #: What else config.json says: trial_id, config_id, fingerprint, versions, device, ...
    identity: dict[str, Any]
    records: list[dict[str, Any]]
    status: str
    reason: str
    summary: dict[str, Any]
    path: str

    @cached_property
    def train_config(self) -> TrainConfig:
        return TrainConfig.from_dict(self.config)

    def value(self, metric: str) -> float:
        """The number that stands for the whole trial: its summary's, else the one that
        `trainer.metrics` makes of its epochs; NaN if it is not known."""
        if metric in self.summary:
            value = self.summary[metric]
            return float(value) if is_number(value) else math.nan
        return value_of_trial(metric, self.records)


@dataclass(frozen=True)
class Reading:
    """What a ledger holds: every trial that was begun, and those that cannot be read, with why."""

    trials: list[TrialRecord]
    unreadable: dict[str, str]


class Ledger:
    """The trials of the sweep `<out>/<sweep_name>`; `out` is a folder, a path or a URI.

    Raises `StoreError` where a remote store does not answer.
    """

    def __init__(self, out: str | os.PathLike[str] | Folder, sweep_name: str):
        self.out = open_folder(out)
        self.name = sweep_name
        self.folder = self.out.child(sweep_name)
        self.trials_folder = self.folder.child("trials")

    @property
    def local_out(self) -> Path:
        """`local_place` of `out`."""
        return local_place(self.out)

    @property
    def log_file(self) -> Path:
        """The driver's log: in the sweep's folder, or `<name>.driver.log` in the current one."""
        folder = self.folder.local
        return folder / "driver.log" if folder else Path.cwd() / f"{self.name}.driver.log"

    def path(self, trial_id: str) -> str:
        """A trial's directory as `TrialDirectory` takes it, from any process."""
        return self.trials_folder.child(trial_id).path

    def directory(self, trial_id: str) -> TrialDirectory:
        return TrialDirectory(self.trials_folder.child(trial_id))

    def trial_ids(self) -> list[str]:
        """Names of the directories that are there, in order of their names."""
        return [name for name in self.trials_folder.folders() if _TRIAL_ID.fullmatch(name)]

    def end(self, trial_id: str) -> dict[str, Any] | None:
        """The end record of a trial; None while it is unfinished or was never begun."""
        return self.directory(trial_id).end()

    def trial(self, trial_id: str) -> TrialRecord | None:
        """One trial; None if it was never begun (no config.json) or cannot be read."""
        found = self._read(trial_id)
        return found if isinstance(found, TrialRecord) else None

    def why_unreadable(self, trial_id: str) -> str:
        """Why `trial` gives nothing although there is something; empty otherwise."""
        found = self._read(trial_id)
        return found if isinstance(found, str) else ""

    def trials(self) -> list[TrialRecord]:
        """Every trial that was begun and can be read."""
        return self.read().trials

    def read(self) -> Reading:
        """Everything, each directory read once."""
        trial_ids = self.trial_ids()
        found = dict(zip(trial_ids, self._read_all(trial_ids), strict=True))
        return Reading(
            [trial for trial in found.values() if isinstance(trial, TrialRecord)],
            {name: reason for name, reason in found.items() if isinstance(reason, str)},
        )

    def close(self, trial_id: str, status: str, reason: str) -> None:
        """End a trial from outside the trainer (pruned, its process died); the first end stays."""
        directory = self.directory(trial_id)
        if directory.end() is None:
            directory.write_end(status, reason, summarise(directory.records()))

    def _read_all(self, trial_ids: list[str]) -> Iterable[TrialRecord | str | None]:
        if self.trials_folder.local is not None:
            return map(self._read, trial_ids)
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(self._read, trial_ids))

    def _read(self, trial_id: str) -> TrialRecord | str | None:
        """A trial, why it cannot be read, or None if it was never begun."""
        directory = self.directory(trial_id)
        try:
            stored = directory.config()
            if stored is None:
                begun = directory.read("config.json") is not None
                return "config.json: is not a JSON object" if begun else None
            records, wrong = directory.history()
            end = directory.end()
        except OSError as error:
            return f"{error.filename or directory.path}: {error.strerror or error}"
        config = stored.pop("config", None)
        train_config, problems = check(config)
        if train_config is None:
            return f"config.json: {problems[0]}"
        if end is None:
            end = {"status": "unfinished", "reason": "", "summary": {}}
        elif wrong and end["status"] == "complete":  # others make no claim on all their epochs
            return wrong
        for key in _CERTAIN:
            if end["summary"].get(key) is not None and not is_number(end["summary"][key]):
                return f"end.json: summary.{key} is not a number"
        trial = TrialRecord(
            trial_id=trial_id,
            config=_DEFAULTS | config | {"data": _DEFAULTS["data"] | config.get("data", {})},
            # A trial that was trained by hand is a configuration of its own.
            identity={"config_id": trial_id} | stored,
            records=records,
            status=end["status"],
            reason=printable(end["reason"]),
            summary=end["summary"] or summarise(records),
            path=directory.path,
        )
        trial.__dict__["train_config"] = train_config  # it is known already
        return trial


def local_place(out: Folder) -> Path:
    """Where that lies which must be local (MLflow's database and artifacts): `out`, or the current
    folder if `out` is remote."""
    return out.local or Path.cwd()


def printable(text: str) -> str:
    """What a terminal would obey is replaced; lines stay."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text
    )
