"""`orch evaluate`: scores the kept weights of a sweep on more examples, without training."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from orchestrator.errors import UserError, unknown_name
from orchestrator.ledger import Ledger, TrialRecord
from trainer.config import ConfigError, TrainConfig
from trainer.config.tasks import Task
from trainer.data.corpus import DataError, split_of_file, whole_dev
from trainer.data.readers import has_columns
from trainer.data.sources import same_data
from trainer.data.split import Split
from trainer.inference import load_trained
from trainer.loop.device import choose_device
from trainer.loop.extra_evaluation import evaluate_trained
from trainer.model.pretrained import EncoderError
from trainer.storage.evaluations import (
    ALL,
    is_name,
    predictions_of,
    read_evaluation,
    write_evaluation,
)
from trainer.storage.folder import StoreError


@dataclass(frozen=True)
class Examples:
    """What is evaluated: the whole dev sets, or a file of one task."""

    name: str = ALL
    file: Path | None = None
    #: The task of the file; empty if its columns say which.
    task: str = ""

    @classmethod
    def of(cls, dev: str, task: str = "") -> Examples:
        """From `--dev` and `--task`.  Raises `UserError`."""
        if dev == ALL:
            if task:
                raise UserError("--task: names the task of a file; --dev all has all tasks")
            return cls()
        file = Path(dev).expanduser()
        if not file.is_file():
            raise UserError(f"--dev {dev}: there is no such file; all: the whole dev sets")
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-.")
        name = f"{task}-{stem}" if task else stem
        if not is_name(name) or name == ALL:
            raise UserError(f"--dev {dev}: its name cannot name an evaluation; rename the file")
        return cls(name, file, task)

    @cached_property
    def described(self) -> dict[str, str]:
        """The entry `data` of the evaluation's record."""
        if self.file is None:
            return {"dev": ALL}
        with self.file.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        named = {"task": self.task} if self.task else {}
        return {"file": self.file.name, "sha256": sha256, **named}

    def task_of(self, config: TrainConfig) -> Task:
        """The task of the file.  Raises `UserError`."""
        assert self.file is not None
        tasks = {task.name: task for task in config.task_list}
        if self.task:
            if self.task not in tasks:
                raise unknown_name(f"--task {self.task}: no such task", self.task, tasks)
            return tasks[self.task]
        fitting = [task for task in tasks.values() if has_columns(self.file, task)]
        if len(fitting) == 1:
            return fitting[0]
        if fitting:
            names = ", ".join(task.name for task in fitting)
            raise UserError(
                f"{self.file}: its columns fit several tasks; choose one: --task {names}"
            )
        needs = "; ".join(
            f"{t.name}: {', '.join(map(str, (*t.columns, t.label)))}" for t in tasks.values()
        )
        raise UserError(f"{self.file}: has the columns of no task; a task needs: {needs}")


@dataclass(frozen=True)
class Evaluated:
    """What happened to one trial.

    Attributes:
        state: `evaluated`, `kept` (it had this evaluation), `skipped` or `failed`.
        reason: why it was skipped or failed.
    """

    trial_id: str
    state: str
    reason: str = ""
    record: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        scores = {key: self.record.get(key) for key in ("dev_score", "dev_mean", "tasks")}
        return {"trial_id": self.trial_id, "state": self.state, "reason": self.reason, **scores}


@dataclass(frozen=True)
class Place:
    """Where and on what it runs.

    Attributes:
        data: where the data are today (`root`, `cache`); other keys are the trials'.
        device: `auto`, `cpu` or `cuda`.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"


def why_skipped(trial: TrialRecord) -> str:
    """Why a trial is not evaluated; empty if it is.  Only complete trials are."""
    if trial.status == "complete" and trial.records:
        return ""
    if trial.status == "failed" and trial.reason == "diverged":
        return "diverged"
    return trial.status


def skipped_line(skipped: Sequence[Evaluated]) -> str:
    """`skipped 3 trials: 1 diverged, 2 pruned`; empty if none was."""
    if not skipped:
        return ""
    counts = Counter(each.reason for each in skipped)
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"skipped {len(skipped)} trial{'s' if len(skipped) > 1 else ''}: {reasons}"


def evaluate_trials(
    ledger: Ledger,
    trials: Sequence[TrialRecord],
    examples: Examples,
    place: Place,
    say: Callable[[str], None] = lambda text: None,
) -> Iterator[Evaluated]:
    """Evaluate these trials one after the other, and yield each after its record is written.

    A trial that has this evaluation keeps it.  So an interrupted evaluation continues with the same
    call.  Raises `UserError` for what concerns all trials.
    """
    device = choose_device(place.device)
    wanted = [trial for trial in trials if not why_skipped(trial)]
    todo = []
    for trial in trials:
        if reason := why_skipped(trial):
            yield Evaluated(trial.trial_id, "skipped", reason)
        elif (kept := _kept(ledger, trial, examples)) is not None:
            yield Evaluated(trial.trial_id, "kept", record=kept)
        else:
            todo.append(trial)
    if todo and not any(ledger.directory(each.trial_id).names("checkpoints") for each in todo):
        raise UserError(
            f"{ledger.folder.path}: holds no checkpoints, as a pack; evaluate the sweep where it "
            "was trained, then pack it again"
        )
    if len(todo) < len(wanted):
        say(f"kept {len(wanted) - len(todo)} evaluations")
    splits = _Splits(examples)
    for trial in todo:
        yield _evaluated(ledger, trial, (examples, splits), place, device)


def _kept(ledger: Ledger, trial: TrialRecord, examples: Examples) -> dict[str, Any] | None:
    record = read_evaluation(ledger.directory(trial.trial_id), examples.name, trial.records)
    if record is not None and record["epoch"] != trial.epoch:
        return None
    if record is not None and record.get("data") != examples.described:
        raise UserError(
            f"{trial.trial_id}: its evaluation {examples.name} is of another file or task; "
            "give the file another name"
        )
    if record is not None:
        try:
            predictions_of(ledger.directory(trial.trial_id), examples.name, record)
        except StoreError:  # lost or damaged: it is evaluated again
            return None
    return record


def _evaluated(
    ledger: Ledger,
    trial: TrialRecord,
    what: tuple[Examples, _Splits],
    place: Place,
    device: torch.device,
) -> Evaluated:
    examples, splits = what
    directory = ledger.directory(trial.trial_id)
    try:
        config = TrainConfig.from_dict(
            {**trial.config, "data": {**trial.config["data"], **place.data}}
        )
        recorded = trial.identity.get("fingerprint")
        if examples.file is None and not same_data(recorded, config):
            reason = "its data or its encoder have changed since it was trained"
            return Evaluated(trial.trial_id, "failed", reason)
        own = splits.of(config)
        record, predictions = evaluate_trained(
            load_trained(directory, config, device), own, examples.described
        )
        record = write_evaluation(directory, examples.name, record, predictions)
    except StoreError as error:
        return Evaluated(trial.trial_id, "failed", str(error))
    except (ConfigError, DataError, EncoderError) as error:  # the same for all trials
        raise UserError(str(error)) from error
    return Evaluated(trial.trial_id, "evaluated", record=record)


class _Splits:
    """The tokenised examples, made once for all trials that share encoder, data and pair modes."""

    def __init__(self, examples: Examples):
        self._examples = examples
        self._made: dict[str, dict[str, Split]] = {}

    def of(self, config: TrainConfig) -> dict[str, Split]:
        canonical = config.canonical(("encoder", "tasks", "task_declarations", "data", "pair"))
        key = json.dumps([canonical, config.data.root], sort_keys=True)
        if key not in self._made:
            self._made = {key: self._make(config)}
        return self._made[key]

    def _make(self, config: TrainConfig) -> dict[str, Split]:
        if self._examples.file is None:
            return whole_dev(config)
        task = self._examples.task_of(config)
        return {task.name: split_of_file(self._examples.file, task, config)}
