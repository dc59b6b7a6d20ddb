"""The ledger: a sweep's trial directories, read together.  All other state is rebuilt from it."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from orchestrator.ledger.evaluations import evaluations_of
from trainer.config import ConfigError, TrainConfig, stored_config
from trainer.metrics import EPOCH, Kind, Must, is_number, value_of_trial
from trainer.printable import printable
from trainer.storage.folder import Folder, Refused
from trainer.storage.json_reader import JsonError, parse_object
from trainer.storage.open import open_folder
from trainer.storage.summary import LAST, counted_epoch, summarise
from trainer.storage.trial_directory import TrialDirectory, lost_epoch

logger = logging.getLogger("orchestrator")

STATUSES = ("complete", "pruned", "failed", "unfinished")
#: The file with a sweep's resolved spec.
RESOLVED = "sweep.yaml"
_TRIAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
#: Keys of config.json beside the config -> their type, where they are not null.
_IDENTITY: dict[str, type] = {
    **dict.fromkeys(
        ("trial_id", "config_id", "fingerprint", "device", "host", "git_commit", "precision")
        + ("stage", "method", "extends"),
        str,
    ),
    **dict.fromkeys(("threads", "decision", "pair"), int),
    **dict.fromkeys(("versions", "rows", "started_from"), dict),
}
_WORDS = {str: "text", int: "a whole number", dict: "a mapping"}
_DEFAULTS = TrainConfig().to_dict()
#: Numbers that every epoch has.
_CERTAIN = [f.name for f in EPOCH.values() if f.kind is Kind.NUMBER and f.must is Must.BE_THERE]
#: Characters of a reason at most.
_LONGEST = 400
#: What an epoch costs: training, evaluation, checkpoint and set-up.
COST = ("minutes_per_epoch", "evaluation_minutes", "checkpoint_minutes", "setup_minutes")
#: Threads that read from an object store, where most of the time is waiting.
_READERS = 16


@dataclass(frozen=True)
class TrialRecord:
    """One trial directory; `records` are its committed epochs, 1..n."""

    trial_id: str
    #: Every value of the TrainConfig, acting or not.
    config: dict[str, Any]
    #: The rest of config.json: trial_id, config_id, fingerprint, versions, device, ...
    identity: dict[str, Any]
    records: list[dict[str, Any]]
    status: str
    reason: str
    summary: dict[str, Any]
    path: str
    #: By name, the scores on other examples (orchestrator.ledger.evaluations).
    evaluations: dict[str, dict[str, Any]] = field(default_factory=dict)
    #: Which epoch counts: `last` or `best`.
    score: str = LAST

    @cached_property
    def epoch(self) -> int:
        """The epoch that counts; 0 without a committed epoch."""
        return counted_epoch(self.records, self.score)

    @cached_property
    def train_config(self) -> TrainConfig:
        return TrainConfig.from_dict(self.config)

    def value(self, metric: str) -> float:
        """A metric of the whole trial: from its summary, else from its epochs by the rules of
        `trainer.metrics`; NaN if unknown."""
        if metric in self.summary:
            value = self.summary[metric]
            return float(value) if is_number(value) else math.nan
        return value_of_trial(metric, self.records)


@dataclass(frozen=True)
class Reading:
    """A ledger's trials, and those that cannot be read, each with the reason."""

    trials: list[TrialRecord]
    unreadable: dict[str, str]


class Ledger:
    """The trials of the sweep `<out>/<sweep_name>`; `out` is a folder, a path or a URI.

    Methods raise `StoreError` if a remote store does not answer.
    """

    def __init__(self, out: str | os.PathLike[str] | Folder, sweep_name: str):
        self.out = open_folder(out)
        self.name = sweep_name
        #: A link in it cannot lead elsewhere: it may be another person's.
        self.folder = self.out.child(sweep_name).enclosed()
        self.trials_folder = self.folder.child("trials")
        #: Unreadable trials that a warning has named.
        self._named: set[str] = set()

    @property
    def local_out(self) -> Path:
        """The local folder for `out`, see `local_place`."""
        return local_place(self.out)

    @property
    def log_file(self) -> Path:
        """The driver's log: in the sweep's folder, or `<name>.driver.log` in the current one."""
        folder = self.folder.local
        return folder / "driver.log" if folder else Path.cwd() / f"{self.name}.driver.log"

    def path(self, trial_id: str) -> str:
        """The path or URI of a trial's directory."""
        return self.trials_folder.child(trial_id).path

    def directory(self, trial_id: str) -> TrialDirectory:
        return TrialDirectory(self.trials_folder.child(trial_id))

    def trial_ids(self) -> list[str]:
        """Names of all trial directories, sorted."""
        return [name for name in self.trials_folder.folders() if _TRIAL_ID.fullmatch(name)]

    def end(self, trial_id: str) -> dict[str, Any] | None:
        """The end record of a trial; None if it has not ended or never started."""
        return self.directory(trial_id).end()

    def trial(self, trial_id: str) -> TrialRecord | None:
        """One trial; None if it never started (no config.json) or cannot be read."""
        trial = self._read(trial_id)
        return trial if isinstance(trial, TrialRecord) else None

    def why_unreadable(self, trial_id: str) -> str:
        """Why an existing trial cannot be read; empty otherwise."""
        reason = self._read(trial_id)
        return _shortened(reason) if isinstance(reason, str) else ""

    def trials(self) -> list[TrialRecord]:
        """Every trial that has started and can be read; a warning names each of the others once."""
        reading = self.read()
        for name, reason in reading.unreadable.items():
            if name not in self._named:
                logger.warning("%s cannot be read: %s", name, reason)
        self._named |= reading.unreadable.keys()
        return reading.trials

    def read(self) -> Reading:
        """All trials; reads each directory once."""
        trial_ids = self.trial_ids()
        trials = dict(zip(trial_ids, self._read_all(trial_ids), strict=True))
        return Reading(
            [trial for trial in trials.values() if isinstance(trial, TrialRecord)],
            {n: _shortened(reason) for n, reason in trials.items() if isinstance(reason, str)},
        )

    def close(self, trial_id: str, status: str, reason: str) -> None:
        """End a trial from outside the trainer (pruned, its process died), unless it has ended."""
        directory = self.directory(trial_id)
        if directory.end() is None:
            config = (directory.config() or {}).get("config") or {}
            summary = summarise(directory.records(), str(config.get("score", LAST)))
            directory.write_end(status, reason, summary)

    def _read_all(self, trial_ids: list[str]) -> Iterable[TrialRecord | str | None]:
        if self.trials_folder.local is not None:
            return map(self._read, trial_ids)
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(self._read, trial_ids))

    def _read(self, trial_id: str) -> TrialRecord | str | None:
        """A trial, or why it cannot be read, or None if it never started."""
        directory = self.directory(trial_id)
        try:
            content = directory.read("config.json")
            if content is None:
                return None
            stored = parse_object(content)
            records, wrong = directory.history()
            end = directory.end()
            evaluations = evaluations_of(directory, records) if _is_complete(end) else {}
        except OSError as error:
            return f"{error.filename or directory.path}: {error.strerror or error}"
        except Refused as error:
            return f"{error.where.removeprefix(f'{directory.folder.local}/')}: {error.why}"
        except JsonError as error:
            return f"config.json: {error}"
        try:
            config = stored_config(stored)
            train_config = TrainConfig.from_dict(config)
        except ConfigError as error:
            return f"config.json: {error.problems[0]}"
        for key, kind in _IDENTITY.items():
            if stored.get(key) is not None and type(stored[key]) is not kind:
                return f"config.json: {key} is not {_WORDS[kind]}"
        del stored["config"]
        if end is None:
            end = {"status": "unfinished", "reason": "", "summary": {}}
        elif lost := lost_epoch(end, records, wrong):
            return lost
        for key in _CERTAIN:
            if end["summary"].get(key) is not None and not is_number(end["summary"][key]):
                return f"end.json: summary.{key} is not a number"
        trial = TrialRecord(
            trial_id=trial_id,
            config=_DEFAULTS | config | {"data": _DEFAULTS["data"] | config.get("data", {})},
            # A trial that was trained by hand is its own configuration.
            identity={"config_id": trial_id} | stored,
            records=records,
            status=end["status"],
            reason=printable(end["reason"]),
            summary=end["summary"] or summarise(records, train_config.score),
            path=directory.path,
            evaluations=evaluations,
            score=train_config.score,
        )
        trial.__dict__["train_config"] = train_config  # fills the cached property
        return trial


def minutes_of(record: Mapping[str, Any]) -> float:
    """Minutes that an epoch took in all, from its record."""
    return math.fsum(float(record[key]) for key in COST if is_number(record.get(key)))


def _shortened(reason: str) -> str:
    """A reason of a few lines at most: it may quote what the file holds."""
    return reason if len(reason) <= _LONGEST else f"{reason[:_LONGEST]} ..."


def _is_complete(end: dict[str, Any] | None) -> bool:
    return end is not None and end["status"] == "complete"


def local_place(out: Folder) -> Path:
    """The folder for MLflow's database and artifacts: `out`, or the current folder if that is
    remote."""
    return out.local or Path.cwd()
