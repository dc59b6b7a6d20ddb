"""The ledger: a sweep's trial directories read together.  Everything else is rebuilt from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config import TrainConfig
from trainer.store import TrialDirectory
from trainer.summary import summarise as of_complete_trial

STATUSES = ("complete", "pruned", "failed", "unfinished")


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

    @property
    def train_config(self) -> TrainConfig:
        return TrainConfig.from_dict(self.config)

    def value(self, metric: str) -> float:
        """What a search aims at: the summary's, else the mean over the epochs; NaN if unknown."""
        if metric in self.summary:
            found = [self.summary[metric]]
        else:
            found = [record.get(metric) for record in self.records]
        if not found or not all(isinstance(v, int | float) for v in found):
            return math.nan
        return math.fsum(found) / len(found)


class Ledger:
    """The trials of the sweep `<out>/<sweep_name>`."""

    def __init__(self, out: str | Path, sweep_name: str):
        self.folder = Path(out) / sweep_name
        self.trials_folder = self.folder / "trials"

    def path(self, trial_id: str) -> str:
        return str(self.trials_folder / trial_id)

    def directory(self, trial_id: str) -> TrialDirectory:
        return TrialDirectory(self.path(trial_id))

    def trial_ids(self) -> list[str]:
        """Names of the directories that are there, in order of their names."""
        if not self.trials_folder.is_dir():
            return []
        return sorted(p.name for p in self.trials_folder.iterdir() if p.is_dir())

    def end(self, trial_id: str) -> dict[str, Any] | None:
        """The end record of a trial; None while it is unfinished or was never begun."""
        return self.directory(trial_id).end()

    def trial(self, trial_id: str) -> TrialRecord | None:
        """One trial; None if it was never begun (no config.json)."""
        directory = self.directory(trial_id)
        stored = directory.config()
        if stored is None:
            return None
        end = directory.end() or {}
        records = directory.records()
        config, identity = _split(stored)
        return TrialRecord(
            trial_id=trial_id,
            config=config,
            identity=identity,
            records=records,
            status=end.get("status", "unfinished"),
            reason=end.get("reason", ""),
            summary=end.get("summary") or summarise(records),
            path=directory.path,
        )

    def trials(self) -> list[TrialRecord]:
        """Every trial that was begun."""
        found = (self.trial(trial_id) for trial_id in self.trial_ids())
        return [trial for trial in found if trial is not None]

    def close(self, trial_id: str, status: str, reason: str) -> None:
        """End a trial from outside the trainer (pruned, its process died); the first end stays."""
        directory = self.directory(trial_id)
        if directory.end() is None:
            directory.write_end(status, reason, summarise(directory.records()))


def summarise(records: list[dict[str, Any]]) -> dict[str, Any]:
    """The summary of a trial that has run so far as `records`; empty without any."""
    if not records:
        return {}
    return of_complete_trial(records)


def _split(stored: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """config.json -> the TrainConfig's values, everything else that it says."""
    return dict(stored.get("config", {})), {k: v for k, v in stored.items() if k != "config"}
