"""Evaluations of a trained model on other examples than its epochs': `evaluations/NAME.json`.

Each has a record and the predictions that it names with their sha256.  Both are written once, the
record last.  A record names its epoch, and counts only for the weights that it was computed from.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from trainer.metrics import is_number
from trainer.storage.folder import StoreError
from trainer.storage.json_reader import JsonError, parse
from trainer.storage.trial_directory import WEIGHTS, TrialDirectory, checkpoint_name

#: The name of the evaluation on the whole dev sets.
ALL = "all"
FOLDER = "evaluations"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def evaluation_name(name: str) -> str:
    return f"{FOLDER}/{name}.json"


def evaluation_predictions(name: str) -> str:
    return f"{FOLDER}/{name}.parquet"


def is_name(name: str) -> bool:
    """Whether an evaluation can have this name."""
    return _NAME.fullmatch(name) is not None


def names_of(store: TrialDirectory) -> list[str]:
    """The names of a trial's evaluations, valid or not."""
    files = [name for name in store.names(FOLDER) if name.endswith(".json")]
    return [name for file in files if is_name(name := file.removesuffix(".json"))]


def read_evaluation(
    store: TrialDirectory, name: str, records: Sequence[Mapping[str, Any]]
) -> dict[str, Any] | None:
    """A trial's evaluation of that name; None if it is missing or not valid.

    Args:
        records: of the trial's epochs.
    """
    content = store.read(evaluation_name(name))
    try:
        record = parse(content) if content is not None else None
    except JsonError:
        return None
    return record if is_valid(record, records) else None


def is_valid(record: Any, records: Sequence[Mapping[str, Any]]) -> bool:
    """Whether readers can rely on an evaluation, and it is of one of the trial's epochs."""
    epoch = record.get("epoch") if isinstance(record, dict) else None
    if type(epoch) is not int or not 0 < epoch <= len(records):
        return False
    weights = (records[epoch - 1].get("files") or {}).get(checkpoint_name(epoch, WEIGHTS))
    if weights is not None and record.get("weights") != weights:
        return False
    tasks, files = record.get("tasks"), record.get("files")
    if not isinstance(tasks, dict) or not tasks or not isinstance(files, dict):
        return False
    overall = [record.get(key, "") for key in ("dev_score", "dev_mean")]  # both are there
    return all(value is None or is_number(value) for value in overall) and all(
        name.isprintable()
        and isinstance(values, dict)
        and is_number(values.get("dev_metric"))
        and type(values.get("examples")) is int
        and isinstance(values.get("metric"), str)
        for name, values in tasks.items()
    )


def write_evaluation(
    store: TrialDirectory, name: str, record: dict[str, Any], predictions: bytes
) -> dict[str, Any]:
    """Write the predictions, then the record; returns the record with `files`."""
    if not is_name(name):
        raise ValueError(f"{name!r} cannot name an evaluation")
    file = evaluation_predictions(name)
    record = {**record, "files": {file: store.write(file, predictions)}}
    content = json.dumps(record, indent=1, sort_keys=True, allow_nan=False) + "\n"
    store.write(evaluation_name(name), content.encode())
    return record


def predictions_of(store: TrialDirectory, name: str, record: Mapping[str, Any]) -> bytes:
    """The predictions of an evaluation.  Raises `StoreError` if they are missing or damaged."""
    file = evaluation_predictions(name)
    content = store.read(file)
    if content is None:
        raise StoreError(f"{file} is missing")
    if hashlib.sha256(content).hexdigest() != record["files"].get(file):
        raise StoreError(f"{file} does not match its sha256")
    return content
