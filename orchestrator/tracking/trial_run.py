"""What a trial's run shows: its name, parameters, tags, data sets, and an epoch's metrics."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.ledger import TrialRecord
from orchestrator.ledger.labels import label, method_of
from orchestrator.tracking.metric_names import SCORE, metric_name
from trainer.config import TrainConfig
from trainer.metrics import numbers
from trainer.storage.folder import is_uri

#: Logged last in an epoch's batch; a run that has it at a step has the whole epoch.
MARKER = SCORE
_MAX_PARAMETER = 6000


def epoch_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Every finite number of an epoch's record, by its name in MLflow."""
    tasks = record.get("tasks", {})
    values = {}
    for place, value in numbers(record).items():
        task = tasks.get(place[1], {}) if place[0] == "tasks" else {}
        values[metric_name(place, task.get("metric") or "metric")] = float(value)
    return values


def metrics(record: Mapping[str, Any]) -> list[Any]:
    """An epoch as MLflow's metrics, the one that says it is whole last."""
    from mlflow.entities import Metric

    at, step = committed_ms(record), record["epoch"]
    values = epoch_metrics(record)
    ordered = [key for key in values if key != MARKER] + [MARKER]
    return [Metric(key, values[key], at, step) for key in ordered if key in values]


def committed_ms(record: Mapping[str, Any]) -> int:
    """When an epoch was committed, as MLflow counts; now for a record that does not say."""
    text = record.get("finished_at")
    return int((datetime.fromisoformat(text).timestamp() if text else time.time()) * 1000)


def params(config: TrainConfig) -> dict[str, str]:
    """What acts in a trial and is not empty, by dotted names."""
    flat = _flat(config.canonical())
    return {key: text[:_MAX_PARAMETER] for key, value in flat.items() if (text := _text(value))}


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping):
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[prefix + key] = inner
    return flat


def _text(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def tags(trial: TrialRecord, sweep: str, varied: Iterable[str]) -> dict[str, str]:
    """What does not change while a trial runs.  `trial_id` finds its run."""
    config, identity = trial.train_config, trial.identity
    found = {
        "kind": "trial",
        "trial_id": trial.trial_id,
        "config_id": identity.get("config_id"),
        "fingerprint": identity.get("fingerprint"),
        "sweep": sweep,
        # Runs grouped by it in MLflow's page are averaged over seeds.
        "configuration": label(config, varied),
        "method": method_of(config),
        "sampler": config.sampler,
        "combiner": config.combiner,
        "seed": config.seed,
        "device": identity.get("device"),
        "trial_directory": trial.path if is_uri(trial.path) else str(Path(trial.path).resolve()),
        "mlflow.source.git.commit": identity.get("git_commit"),
        "mlflow.source.name": f"orch sweep ({sweep})",
        "mlflow.source.type": "LOCAL",
    }
    return {key: "" if value is None else str(value) for key, value in found.items()}


def told(trial: TrialRecord) -> dict[str, str]:
    """The tags that change while a trial runs: `contended` (whether anything else ran on the device
    in an epoch: true, false or unknown) with its first epoch, `reason` with its end."""
    tags = {}
    if found := {record["contended"] for record in trial.records}:
        tags["contended"] = "true" if True in found else "unknown" if None in found else "false"
    if trial.status != "unfinished":
        tags["reason"] = trial.reason or trial.status
    return tags


def datasets(trial: TrialRecord) -> list[Any]:
    """Each task's train and dev set as MLflow's data set inputs: two of one digest are the same.

    The digest is the fingerprint of the sweep's data; where a config uses a part of the examples,
    with their number behind it.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    found = []
    data, config = trial.config["data"], trial.train_config
    rows = trial.identity.get("rows") or {}
    for task in config.task_list:
        origin = "synthetic" if config.generates(task.name) else "files"
        for split, use in (("train", "training"), ("dev", "evaluation")):
            if not (file := getattr(task, split)):
                continue
            limit = (data["limit"] if split == "train" else data["dev_limit"]).get(task.name)
            digest = str(trial.identity.get("fingerprint", ""))[:24] or "unknown"
            count = (rows.get(task.name) or {}).get(split, {}).get("rows")
            kind, source = _source(origin, data["root"], data["seed"], data["size"], file)
            columns = [{"type": "string", "name": name} for name in task.columns]
            columns.append({"type": "double", "name": task.label})
            made = Dataset(
                name=f"{task.name}-{split}",
                digest=f"{digest}-{limit}" if limit else digest,
                source_type=kind,
                source=source,
                schema=json.dumps({"mlflow_colspec": columns}),
                profile=json.dumps({"num_rows": count}) if count is not None else None,
            )
            found.append(DatasetInput(made, [InputTag("mlflow.data.context", use)]))
    return found


@lru_cache(maxsize=64)
def _source(kind: str, root: str, seed: int, size: int, file: str) -> tuple[str, str]:
    """A data set's type of source and the source, as MLflow writes them."""
    if kind == "synthetic":
        told = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "trainer.data.synthetic"}
        return "code", json.dumps({"tags": {**told, "seed": str(seed), "size": str(size)}})
    return "local", json.dumps({"uri": str(Path(root).expanduser() / file)})
