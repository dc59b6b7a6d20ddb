"""The evaluations of trials on other examples than the dev sets of their epochs.

`all` is the one on the whole dev sets.  Scores are those of `all` where all compared trials have
it.  Early stopping, searches and learning curves never see an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from orchestrator.ledger.current import confirming, searched
from trainer.storage.evaluations import ALL, names_of, read_evaluation

if TYPE_CHECKING:
    from orchestrator.ledger.ledger import TrialRecord
    from trainer.storage.trial_directory import TrialDirectory

__all__ = [
    "ALL",
    "counted_record",
    "evaluations_of",
    "on_equal_examples",
    "whole_dev_note",
    "with_score",
]


def evaluations_of(
    directory: TrialDirectory, records: Sequence[dict[str, Any]]
) -> dict[str, dict[str, Any]]:
    """A trial's valid evaluations by name."""
    read = {name: read_evaluation(directory, name, records) for name in names_of(directory)}
    return {name: record for name, record in read.items() if record is not None}


def on_equal_examples(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The trials, without `all` unless every complete one of their stage has it.

    Scores on the whole dev sets do not compare with scores on parts of them.
    """
    trials = list(trials)
    stages = [_on_equal_examples(stage) for stage in (searched(trials), confirming(trials))]
    by_id = {trial.trial_id: trial for stage in stages for trial in stage}
    return [by_id[trial.trial_id] for trial in trials]


def _on_equal_examples(trials: list[TrialRecord]) -> list[TrialRecord]:
    having = sum(has_all(trial) for trial in trials)
    if not having or all(map(has_all, _complete(trials))):
        return trials
    return [_without_all(trial) if ALL in trial.evaluations else trial for trial in trials]


def has_all(trial: TrialRecord) -> bool:
    """Whether the epoch of a trial that counts has scores on the whole dev sets."""
    whole = trial.evaluations.get(ALL)
    if whole is None or whole["epoch"] != trial.epoch:
        return False
    return whole["dev_score"] is not None and whole["dev_mean"] is not None


def with_score(trial: TrialRecord, score: str) -> TrialRecord:
    """The trial as if its `last` or its `best` epoch counted."""
    return trial if trial.score == score else _changed(trial, score=score)


def counted_record(trial: TrialRecord) -> dict[str, Any]:
    """The record of the epoch that counts, with the dev scores of `all` if the trial has them.

    Everything that uses a trial's score comes here.
    """
    record = trial.records[trial.epoch - 1]
    if not has_all(trial):
        return record
    whole = trial.evaluations[ALL]
    tasks = {name: dict(values) for name, values in record["tasks"].items()}
    for name, values in whole["tasks"].items():
        kept = {key: values[key] for key in ("metric", "dev_metric", "dev_loss") if key in values}
        tasks[name] = tasks.get(name, {}) | kept
    scores = {key: whole[key] for key in ("dev_score", "dev_mean")}
    return {**record, **scores, "tasks": tasks}


def whole_dev_note(compared: Iterable[TrialRecord], present: Iterable[TrialRecord]) -> str:
    """Which dev examples the scores are on, if any trial was evaluated on the whole dev sets.

    Args:
        compared: what `on_equal_examples` made of the trials.
        present: the trials themselves.
    """
    compared, complete = _complete(compared), _complete(present)
    if compared and all(map(has_all, compared)):
        whole = compared[0].evaluations[ALL]
        count = sum(values["examples"] for values in whole["tasks"].values())
        return f"Scores on the whole dev sets ({count:,} examples)."
    having = sum(map(has_all, complete))
    if not having:
        return ""
    return (
        f"Scores on the dev sets of the epochs: {having} of {len(complete)} complete trials were "
        "evaluated on the whole dev sets. orch evaluate evaluates the others."
    )


def _complete(trials: Iterable[TrialRecord]) -> list[TrialRecord]:
    return [trial for trial in trials if trial.status == "complete" and trial.records]


def _without_all(trial: TrialRecord) -> TrialRecord:
    evaluations = {name: each for name, each in trial.evaluations.items() if name != ALL}
    return _changed(trial, evaluations=evaluations)


def _changed(trial: TrialRecord, **changes: Any) -> TrialRecord:
    changed = replace(trial, **changes)
    changed.__dict__["train_config"] = trial.train_config  # fills the cached property
    return changed
