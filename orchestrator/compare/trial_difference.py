"""Two trials side by side: in what their configs differ, and their numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from orchestrator.compare.configurations import BASIS
from orchestrator.export.chosen_trial import ChosenTrial
from orchestrator.ledger import TrialRecord
from orchestrator.ledger.evaluations import counted_record, on_equal_examples
from orchestrator.ledger.labels import flatten
from trainer.metrics import is_number


@dataclass(frozen=True)
class KeyDifference:
    """A dotted config key with other values.

    Attributes:
        acts: in which trials it acts: `both`, `first`, `second` or `neither`.
    """

    key: str
    first: Any
    second: Any
    acts: str


@dataclass(frozen=True)
class NumberDifference:
    """A number of both trials; None where a trial has none.

    Attributes:
        difference: second minus first.
    """

    name: str
    first: float | None
    second: float | None
    difference: float | None


@dataclass(frozen=True)
class TrialDifference:
    """The second trial beside the first.

    Attributes:
        config: the keys that differ; those that act come first.
        numbers: scores after the epoch that counts, and minutes per epoch, a mean over epochs.
        problems: why the scores do not compare: other data, tasks, ...
    """

    first: str
    second: str
    config: list[KeyDifference]
    numbers: list[NumberDifference]
    problems: list[str]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)


def trial_difference(first: ChosenTrial, second: ChosenTrial) -> TrialDifference:
    """Compare two trials, of one sweep or of two."""
    trials = first.trial, second.trial
    names = [f"{each.ledger.name}@{each.trial.trial_id}" for each in (first, second)]
    return TrialDifference(
        first=names[0],
        second=names[1],
        config=_config(*trials),
        numbers=_numbers(*on_equal_examples(trials)),
        problems=[
            f"different {name}"
            for name, value_of in BASIS.items()
            if len({value_of(trial) for trial in trials} - {""}) > 1
        ],
    )


def _config(first: TrialRecord, second: TrialRecord) -> list[KeyDifference]:
    values = [dict(flatten(trial.train_config.to_dict())) for trial in (first, second)]
    acting = [dict(flatten(trial.train_config.canonical())) for trial in (first, second)]
    keys = [
        KeyDifference(
            key, values[0].get(key), values[1].get(key),
            _WHERE[key in acting[0], key in acting[1]],
        )
        for key in dict.fromkeys([*values[0], *values[1]])
        if values[0].get(key) != values[1].get(key)
    ]  # fmt: skip
    return sorted(keys, key=lambda each: each.acts == "neither")


_WHERE = {
    (True, True): "both",
    (True, False): "first",
    (False, True): "second",
    (False, False): "neither",
}


def _numbers(first: TrialRecord, second: TrialRecord) -> list[NumberDifference]:
    columns = [_of(first), _of(second)]
    return [
        NumberDifference(
            name, one := columns[0].get(name), two := columns[1].get(name),
            None if one is None or two is None else two - one,
        )
        for name in dict.fromkeys([*columns[0], *columns[1]])
    ]  # fmt: skip


def _of(trial: TrialRecord) -> dict[str, float]:
    if not trial.records:
        return {}
    record = counted_record(trial)
    numbers = {"dev_score": record["dev_score"], "dev_mean": record["dev_mean"]}
    for task, values in record["tasks"].items():
        if "dev_metric" in values:
            numbers[f"{task} {values.get('metric', 'metric')}"] = values["dev_metric"]
    numbers["min/epoch"] = trial.summary.get("minutes_per_epoch")
    numbers["examples/epoch"] = record.get("examples")
    numbers["epochs"] = len(trial.records)
    return {name: float(value) for name, value in numbers.items() if is_number(value)}
