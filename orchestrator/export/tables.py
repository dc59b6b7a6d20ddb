"""A sweep as tidy tables: a row per trial, per trial and epoch, or per trial and dev example.

Parameters are the keys that act in a trial, under `config.`; where a key does not act, the trial
has none.  Numbers are those of the records (trainer.metrics), under their places there:
`tasks.sst.dev_accuracy`.  Every column has one type.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyarrow as pa

from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.ledger.best_epoch import both_epochs
from orchestrator.ledger.current import current, is_confirming
from orchestrator.ledger.evaluations import counted_record, has_all, on_equal_examples
from orchestrator.ledger.labels import flatten, labels
from orchestrator.ledger.listing import resolved_spec
from orchestrator.ledger.predictions import PredictionsError, read_predictions
from trainer.metrics import Place, Record, dotted, field_at, numbers, of_trial
from trainer.printable import printable
from trainer.storage.prediction_file import COLUMNS as PREDICTED

#: Units as column names end with them, unless the name says it already.
UNITS = {"min": "minutes", "examples/s": "examples_per_second", "MB": "mb"}
#: Names in a record that stand for the task's metric.
_METRICS = ("dev_metric", "train_metric")


def trials_table(ledger: Ledger) -> pa.Table:
    """A row per trial: what it is, its parameters, its numbers.

    Numbers are those of the epoch that counts, or means over the epochs, as `trainer.metrics` says.
    `current` is false for trials from before the number of epochs grew.
    """
    trials = _trials(ledger)
    counting = {trial.trial_id for trial in current(resolved_spec(ledger), trials)}
    rows = []
    for trial, identity in _identified(trials):
        about = {
            "status": trial.status,
            "reason": trial.reason,
            "stage": "confirm" if is_confirming(trial) else "search",
            "current": trial.trial_id in counting,
            "epochs": len(trial.records),
            "epoch": trial.epoch,
            "whole_dev_sets": has_all(trial),
            **both_epochs(trial),
        }
        rows.append({**identity, **about, **_parameters(trial), **_of_trial(trial)})
    return _table(rows)


def epochs_table(ledger: Ledger) -> pa.Table:
    """A row per trial and epoch; `counts` marks the epoch whose scores are the trial's."""
    rows = []
    for trial, identity in _identified(_trials(ledger)):
        for record in trial.records:
            about = {
                "epoch": record["epoch"],
                "counts": record["epoch"] == trial.epoch,
                "contended": record["contended"],
            }
            rows.append({**identity, **about, **_named(record, numbers(record))})
    return _table(rows)


def predictions_table(ledger: Ledger) -> pa.Table:
    """A row per trial and dev example: trial_id, task, id, label, prediction.

    They are the predictions that give a trial its score, as `read_predictions` reads them.  Trials
    that have not ended well, or keep no predictions, have no rows.
    """
    parts = []
    for trial in _trials(ledger):
        if trial.status != "complete" or not trial.records:
            continue
        try:
            part = read_predictions(ledger, trial)
        except PredictionsError:
            continue
        ids = pa.DictionaryArray.from_arrays(
            pa.repeat(pa.scalar(0, pa.int32()), part.num_rows), [trial.trial_id]
        )
        columns = {name: part[name] for name in PREDICTED}
        columns["task"] = columns["task"].cast(pa.string()).dictionary_encode()
        parts.append(pa.table({"trial_id": ids, **columns}, schema=_PREDICTIONS))
    return pa.concat_tables(parts).unify_dictionaries() if parts else _PREDICTIONS.empty_table()


_NAMES = pa.dictionary(pa.int32(), pa.string())
_PREDICTIONS = pa.schema(
    {"trial_id": _NAMES, "task": _NAMES, "id": pa.string()}
    | {"label": pa.float64(), "prediction": pa.float64()}
)

#: Names of tables -> what makes them.
TABLES: dict[str, Callable[[Ledger], pa.Table]] = {
    "trials": trials_table,
    "epochs": epochs_table,
    "predictions": predictions_table,
}


def _trials(ledger: Ledger) -> list[TrialRecord]:
    return on_equal_examples(ledger.trials())


def _identified(trials: list[TrialRecord]) -> Iterable[tuple[TrialRecord, dict[str, Any]]]:
    named = labels({trial.trial_id: trial.train_config for trial in trials})
    for trial in trials:
        yield (
            trial,
            {
                "trial_id": trial.trial_id,
                "config_id": str(trial.identity.get("config_id", "")),
                "configuration": named[trial.trial_id],
                "seed": trial.config["seed"],
            },
        )


def _parameters(trial: TrialRecord) -> dict[str, Any]:
    values = dict(flatten(trial.train_config.canonical()))
    del values["seed"]
    return {f"config.{name}": value for name, value in values.items()}


def _of_trial(trial: TrialRecord) -> dict[str, float]:
    if not trial.records:
        return {}
    counted, values = counted_record(trial), of_trial(trial.records)
    for place, value in numbers(counted).items():
        field = field_at(place)
        if field is None or field.over_epochs == "last":
            values[place] = value
    return _named(counted, values)


def _named(record: Record, values: Mapping[Place, float]) -> dict[str, float]:
    return {column_name(place, record): value for place, value in values.items()}


def column_name(place: Place, record: Record) -> str:
    """The name of a number's column: its place, the task's metric by its name, and its unit."""
    name = dotted(place)
    if place[-1] in _METRICS:
        metric = record["tasks"][place[1]].get("metric", "metric")
        name = name.removesuffix("metric") + str(metric)
    field = field_at(place)
    unit = UNITS.get(field.unit, field.unit) if field else ""
    return name if unit in name else f"{name}_{unit}"


def _table(rows: list[dict[str, Any]]) -> pa.Table:
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: _column([row.get(name) for row in rows]) for name in names}
    return pa.table({printable(name): column for name, column in columns.items()})


def _column(values: list[Any]) -> pa.Array:
    """The values in one type: that of all, real numbers for whole and real ones, or else text."""
    kinds = frozenset(type(value) for value in values if value is not None)
    if kinds in _TYPES:
        return pa.array(values, _TYPES[kinds])
    return pa.array([_text(value) for value in values], pa.string())


_TYPES = {
    frozenset({bool}): pa.bool_(),
    frozenset({int}): pa.int64(),
    frozenset({float}): pa.float64(),
    frozenset({int, float}): pa.float64(),
}


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return printable(value if isinstance(value, str) else json.dumps(value))
