"""The one table of what an epoch records, and how its numbers are read.

`EPOCH` lists the fields of a record, `TASK` those of each task, `PHASE` those of each phase.  All
readers of records use these tables: the check of records on disk, the objectives of a search,
MLflow, `orch show`, `orch compare`, and the tests that compare records.

A number needs no entry: MLflow, `orch show` and `orch compare --json` show every finite number.  An
entry gives it a unit, a name in MLflow or a column, or makes it an objective.

This module imports nothing heavy, so that a sweep file can be checked without torch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from trainer.printable import in_one_line

Record = Mapping[str, Any]
#: The path of a number in a record: `("tasks", "sst", "dev_loss")`.
Place = tuple[str, ...]


#: The version of the clock that measures the minutes of training.  Every record names its own.  The
#: first clock, whose records have none, charged the imports of a process to the first epoch that
#: the process trained.
CLOCK = "2"
FIRST_CLOCK = "1"
FIRST_CLOCK_NOTE = (
    "° measured with the first version of the clock, which charged the start of a process to its "
    "first epoch. These minutes do not compare with those of later versions."
)


class Kind(Enum):
    """The kind of a field's value."""

    NUMBER = "a number"
    #: Numbers by name, such as those of every pair of tasks or every part of a step.
    NUMBERS = "a mapping of numbers"
    FLAG = "true, false or null"
    TEXT = "a name"
    TIME = "a time"
    #: The epoch's number.
    EPOCH = "the epoch's number"
    TASKS = "a mapping"
    PHASES = "a list of mappings"
    #: Names of files with their sha256.
    FILES = "a mapping of files"
    #: Notes of a resume.
    NOTES = "a list of texts"


class Must(Enum):
    """What the check of a record requires of a field."""

    BE_THERE = "a value of its kind"
    BE_THERE_OR_NULL = "a value of its kind, or null"
    BE_RIGHT = "a value of its kind, if it is there"
    MAY_BE_NULL = "a value of its kind, null, or missing"
    NOTHING = "anything: to readers it is missing if it is not of its kind"


@dataclass(frozen=True)
class Field:
    """One field of a record.

    Attributes:
        unit: of its numbers; empty for shares, scores and counts.
        better: whether larger or smaller values are better, if either is.
        objective: whether a search can aim at it and a scheduler can compare trials by it.
        over_epochs: the value for a whole trial: the last epoch's, or the mean over all epochs.
        timing: whether another run or a resume of the same trial may give another value.
        mlflow: its name in MLflow, with `{task}`, `{metric}` and `{key}`.  If empty, the name
            follows its place in the record (`orchestrator.tracking.metric_names`).
        show: the heading of its column in `orch show TRIAL`; no column if empty.
        compare: the same for `orch compare`'s table of configurations.
        digits: decimals in those columns.
    """

    name: str
    kind: Kind = Kind.NUMBER
    must: Must = Must.MAY_BE_NULL
    unit: str = ""
    better: Literal["max", "min", ""] = ""
    objective: bool = False
    over_epochs: Literal["last", "mean"] = "last"
    timing: bool = False
    mlflow: str = ""
    show: str = ""
    compare: str = ""
    digits: int = 3

    @property
    def is_speed(self) -> bool:
        """Whether it is unreliable if something else ran on the device (`contended`)."""
        return self.unit in ("min", "examples/s")


def _table(*fields: Field) -> dict[str, Field]:
    table = {field.name: field for field in fields}
    assert len(table) == len(fields), "a field is listed twice"
    return table


EPOCH = _table(
    Field("epoch", Kind.EPOCH, Must.BE_THERE),
    Field(
        "dev_score", must=Must.BE_THERE, better="max", objective=True, mlflow="dev/score",
        show="dev_score", compare="dev_score", digits=4,
    ),
    Field(
        "dev_mean", must=Must.BE_THERE, better="max", objective=True, mlflow="dev/mean",
        show="dev_mean", compare="dev_mean", digits=4,
    ),
    Field("tasks", Kind.TASKS, Must.BE_THERE),
    Field(
        "minutes_per_epoch", must=Must.BE_THERE, unit="min", better="min", objective=True,
        over_epochs="mean", timing=True, mlflow="time/epoch_minutes",
        show="min", compare="min/epoch",
    ),
    Field("updates", over_epochs="mean", mlflow="train/updates", show="updates", digits=0),
    Field("skipped_updates", over_epochs="mean", mlflow="train/skipped_updates"),
    Field(
        "examples", must=Must.BE_THERE, over_epochs="mean", mlflow="train/examples",
        show="examples", compare="examples/epoch", digits=0,
    ),
    Field(
        "examples_per_second", unit="examples/s", better="max", objective=True,
        over_epochs="mean", timing=True, mlflow="system/examples_per_second",
    ),
    Field(
        "peak_memory_mb", must=Must.NOTHING, unit="MB", better="min", objective=True,
        over_epochs="mean", timing=True, mlflow="system/peak_memory_mb",
    ),
    Field("train_loss", better="min", objective=True, over_epochs="mean", mlflow="train/loss"),
    Field("conflict_share", mlflow="train/conflict_share", show="conflicts"),
    Field("conflicts", Kind.NUMBERS, mlflow="train/conflict_{key}"),
    Field("cosines", Kind.NUMBERS, mlflow="train/cosine_{key}"),
    Field("phases", Kind.PHASES, Must.BE_RIGHT),
    Field(
        "parts", Kind.NUMBERS, Must.NOTHING, unit="min", over_epochs="mean", timing=True,
        mlflow="time/{key}_minutes",
    ),
    Field(
        "evaluation_minutes", must=Must.NOTHING, unit="min", better="min", over_epochs="mean",
        timing=True, mlflow="time/evaluation_minutes",
    ),
    Field(
        "checkpoint_minutes", must=Must.NOTHING, unit="min", better="min", over_epochs="mean",
        timing=True, mlflow="time/checkpoint_minutes",
    ),
    Field(
        "setup_minutes", must=Must.NOTHING, unit="min", better="min", over_epochs="mean",
        timing=True, mlflow="time/setup_minutes",
    ),
    Field("clock", Kind.TEXT, Must.NOTHING, timing=True),
    Field("recording_problem", Kind.TEXT, Must.NOTHING, timing=True),
    Field("contended", Kind.FLAG, Must.BE_THERE_OR_NULL, timing=True),
    Field(
        "foreign_load", must=Must.NOTHING, over_epochs="mean", timing=True,
        mlflow="system/foreign_load",
    ),
    Field("finished_at", Kind.TIME, Must.BE_RIGHT, timing=True),
    Field("files", Kind.FILES, Must.BE_RIGHT),
    Field("notes", Kind.NOTES, Must.NOTHING, timing=True),
)  # fmt: skip

#: Of each task; `metric` is the name of `dev_metric` and `train_metric`.
TASK = _table(
    Field("metric", Kind.TEXT, Must.MAY_BE_NULL),
    Field(
        "dev_metric", must=Must.BE_RIGHT, better="max", mlflow="dev/{task}_{metric}",
        show="{task}", compare="{task} {metric}",
    ),
    Field("dev_loss", better="min", mlflow="dev/{task}_loss"),
    Field("train_loss", better="min", mlflow="train/{task}_loss"),
    Field("train_metric", better="max", mlflow="train/{task}_{metric}"),
    Field("examples", mlflow="train/{task}_examples"),
    Field("updates", mlflow="train/{task}_updates"),
    Field("utilisation", mlflow="train/{task}_utilisation"),
)  # fmt: skip

PHASE = _table(
    Field("name", Kind.TEXT, Must.NOTHING),
    Field("minutes", unit="min", better="min", timing=True),
    Field("examples"),
    Field("updates"),
    Field("conflict_share"),
    Field("conflicts", Kind.NUMBERS),
    Field("cosines", Kind.NUMBERS),
)


def objectives() -> dict[str, Literal["max", "min"]]:
    """The possible objectives of a search, each with its better direction."""
    return {
        field.name: field.better for field in EPOCH.values() if field.objective and field.better
    }


#: No number of a record is as large.  Squares of all others are finite, so statistics can use them.
TOO_LARGE = 1e100


def is_number(value: Any) -> bool:
    """Whether it is a finite number below `TOO_LARGE`, and not a bool.

    A whole number is at most 2**53, so that a float has the same value.
    """
    if type(value) is float:
        return -TOO_LARGE < value < TOO_LARGE
    return type(value) is int and -(2**53) <= value <= 2**53


def numbers(record: Record) -> dict[Place, float]:
    """Every finite number of a record by its place, except the epoch's own number.

    A phase is found by its name: `("phases", "round_robin", "minutes")`.
    """
    values: dict[Place, float] = {}
    _collect(record.items(), (), values)
    values.pop(("epoch",), None)
    return values


def _collect(items: Iterable[tuple[Any, Any]], place: Place, values: dict[Place, float]) -> None:
    for key, value in items:
        if isinstance(value, float | int):
            if is_number(value):
                values[*place, in_one_line(str(key))] = value
        elif isinstance(value, dict):
            _collect(value.items(), (*place, in_one_line(str(key))), values)
        elif isinstance(value, list):
            inner = enumerate(value) if key != "phases" else _named(value)
            _collect(inner, (*place, in_one_line(str(key))), values)


def _named(phases: Sequence[Any]) -> Iterator[tuple[Any, Any]]:
    """Phases by their names, which differ within an epoch."""
    for number, phase in enumerate(phases):
        yield (phase.get("name") or number) if isinstance(phase, dict) else number, phase


def clock_of(record: Record) -> str:
    """The version of the clock that measured an epoch's minutes."""
    version = record.get("clock")
    return version if isinstance(version, str) else FIRST_CLOCK


def dotted(place: Place) -> str:
    """A number's name: `tasks.sst.dev_loss`."""
    return ".".join(place)


def field_at(place: Place) -> Field | None:
    """The table's entry for a number; None if there is none."""
    table, inner = EPOCH, place
    if place[0] == "tasks":
        table, inner = TASK, place[2:]
    elif place[0] == "phases":
        table, inner = PHASE, place[2:]
    field = table.get(inner[0]) if inner else None
    if field is None or len(inner) > 2:
        return None
    return field if field.kind is (Kind.NUMBER, Kind.NUMBERS)[len(inner) - 1] else None


def of_trial(records: Sequence[Record]) -> dict[Place, float]:
    """The numbers of a whole trial, by their places in its last record."""
    values: dict[Place, float] = {}
    for place, last in (numbers(records[-1]) if records else {}).items():
        field = field_at(place)
        if field is None or field.over_epochs == "last":
            values[place] = last
        elif math.isfinite(mean := _mean(records, place)):
            values[place] = mean
    return values


def value_of_trial(name: str, records: Sequence[Record]) -> float:
    """A number of the whole trial, by its name in an epoch; NaN if an epoch lacks it."""
    field = EPOCH.get(name)
    return _mean(records[-1:] if field and field.over_epochs == "last" else records, (name,))


def _mean(records: Iterable[Record], place: Place) -> float:
    """The mean over the epochs; NaN if one lacks the number."""
    values = [_at(record, place) for record in records]
    if not values or not all(map(is_number, values)):
        return math.nan
    return math.fsum(values) / len(values)


def _at(record: Record, place: Place) -> Any:
    value: Any = record
    for key in place:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def not_finite(record: Any) -> str:
    """The dotted name of a record's first number that is NaN or infinite; empty if none is."""
    return next((dotted(place) for place in _not_finite(record, ())), "")


def _not_finite(value: Any, place: Place) -> Iterator[Place]:
    if isinstance(value, float) and not math.isfinite(value):
        yield place
    if isinstance(value, list):
        value = dict(enumerate(value))
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _not_finite(inner, (*place, str(key)))
