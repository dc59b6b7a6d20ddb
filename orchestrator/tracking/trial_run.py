"""What a trial's run shows: name, parameters, tags, data sets, and an epoch's metrics."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from orchestrator.ledger import TrialRecord
from orchestrator.ledger.labels import flatten, label, method_of
from orchestrator.tracking import limits
from orchestrator.tracking.metric_names import EPOCH_MINUTES, MEAN, MINUTES, SCORE, metric_name
from orchestrator.tracking.sweep_run import NOTE, SweepDescription
from trainer.config import TrainConfig
from trainer.metrics import numbers, value_of_trial
from trainer.printable import printable
from trainer.storage.folder import is_uri

#: Logged first, because MLflow's pages show metrics in this order and open on the first.
_FIRST = (SCORE, MINUTES, MEAN)
#: Logged last for each epoch: a run that has it at a step has the whole epoch.
MARKER = EPOCH_MINUTES


def epoch_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """Every finite number of an epoch's record, by its name in MLflow."""
    tasks = record.get("tasks", {})
    values = {}
    for place, value in numbers(record).items():
        task = tasks.get(place[1], {}) if place[0] == "tasks" else {}
        values[metric_name(place, task.get("metric") or "metric")] = float(value)
    return values


def metrics(records: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The last of these epochs as MLflow's metrics, `MARKER` last.

    Args:
        records: a trial's epochs, from the first one.
    """
    from mlflow.entities import Metric

    record = records[-1]
    at, step = committed_ms(record), record["epoch"]
    values = epoch_metrics(record)
    values[MINUTES] = value_of_trial("minutes_per_epoch", records)
    scores = sorted(key for key in values if key.startswith("dev/"))
    ordered = dict.fromkeys([*_FIRST, *scores, *sorted(values.keys() - {MARKER}), MARKER])
    # Older versions logged the epoch's own minutes as MINUTES.  MLflow shows the newest value.
    later = {MINUTES: 1}
    return [
        Metric(key, values[key], at + later.get(key, 0), step)
        for key in ordered
        if math.isfinite(values.get(key, math.nan))
    ]


def is_outdated(metrics: Mapping[str, float]) -> bool:
    """Whether an older version, which had another marker, logged the newest values of a run."""
    return SCORE in metrics and MARKER not in metrics


def committed_ms(record: Mapping[str, Any]) -> int:
    """When an epoch was committed, in ms since 1970; the present time if that is not recorded."""
    text = record.get("finished_at")
    return int((datetime.fromisoformat(text).timestamp() if text else time.time()) * 1000)


def params(config: TrainConfig, sweep: SweepDescription) -> dict[str, str]:
    """The acting parameters of a trial that are not empty, by their dotted names.

    Those that the sweep varies come first, because MLflow's pages show them in this order.  The
    sweep's `partial` ones are left out.
    """
    texts = {
        key: ", ".join(map(str, value)) if isinstance(value, list) else str(value)
        for key, value in flatten(config.canonical())
    }
    ordered = dict.fromkeys([*sweep.varied, "seed", *texts])
    kept = (key for key in ordered if texts.get(key) and key not in sweep.partial)
    return {
        limits.name(key): limits.shortened(printable(texts[key]), limits.PARAMETER) for key in kept
    }


def tags(trial: TrialRecord, sweep: str, varied: Iterable[str]) -> dict[str, str]:
    """The tags that do not change while a trial runs.  `trial_id` identifies its run."""
    config, identity = trial.train_config, trial.identity
    values = {
        "kind": "trial",
        "trial_id": trial.trial_id,
        "config_id": identity.get("config_id"),
        "fingerprint": identity.get("fingerprint"),
        "sweep": sweep,
        # MLflow's page can group runs by it, and so average over seeds.
        "configuration": label(config, varied),
        "method": method_of(config),
        "sampler": config.sampler,
        "combiner": config.combiner,
        "seed": config.seed,
        "device": identity.get("device"),
        "trial_directory": trial.path if is_uri(trial.path) else str(Path(trial.path).resolve()),
        NOTE: f"`orch show {sweep} {trial.trial_id}` prints its epochs.",
        "mlflow.source.git.commit": identity.get("git_commit"),
        "mlflow.source.name": f"orch sweep ({sweep})",
        "mlflow.source.type": "LOCAL",
    }
    return {
        key: "" if value is None else limits.shortened(printable(str(value)), limits.TAG)
        for key, value in values.items()
    }


def changing_tags(trial: TrialRecord) -> dict[str, str]:
    """The tags that change while a trial runs.

    `contended` comes with the first epoch: whether anything else ran on the device in any epoch
    (true, false or unknown).  `reason` comes with the end.
    """
    tags = {}
    if flags := {record["contended"] for record in trial.records}:
        tags["contended"] = "true" if True in flags else "unknown" if None in flags else "false"
    if trial.status != "unfinished":
        tags["reason"] = limits.shortened(printable(trial.reason or trial.status), limits.TAG)
    return tags


def datasets(trial: TrialRecord) -> list[Any]:
    """Each task's train and dev set as MLflow's data set inputs.

    The digest is the fingerprint of the sweep's data.  If a config uses a part of the examples,
    their number is appended.
    """
    from mlflow.entities import Dataset, DatasetInput, InputTag

    inputs = []
    data, config = trial.config["data"], trial.train_config
    rows = trial.identity.get("rows") or {}
    for task in config.task_list:
        origin = "synthetic" if config.generates(task.name) else "files"
        for split, use in (("train", "training"), ("dev", "evaluation")):
            if not (files := task.files(split)):
                continue
            limit = (data["limit"] if split == "train" else data["dev_limit"]).get(task.name)
            digest = printable(str(trial.identity.get("fingerprint", "")))[:24] or "unknown"
            count = (rows.get(task.name) or {}).get(split, {}).get("rows")
            kind, source = _source(origin, data["root"], data["seed"], data["size"], files)
            columns = [{"type": "string", "name": str(name)} for name in task.columns]
            kind_of_label = "string" if task.labels else "double"
            columns.append({"type": kind_of_label, "name": str(task.label)})
            schema = json.dumps({"mlflow_colspec": columns})
            dataset = Dataset(
                name=limits.shortened(task.name, limits.DATASET_NAME - len(split) - 1)
                + f"-{split}",
                digest=(f"{digest}-{limit}" if limit else digest)[: limits.DATASET_DIGEST],
                source_type=kind,
                source=source,
                schema=schema if len(schema) <= limits.DATASET_SCHEMA else None,
                profile=json.dumps({"num_rows": count}) if count is not None else None,
            )
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", use)]))
    return inputs


@lru_cache(maxsize=64)
def _source(kind: str, root: str, seed: int, size: int, files: tuple[str, ...]) -> tuple[str, str]:
    """The type and the description of a data set's source, in MLflow's format."""
    if kind == "synthetic":
        tags = {"mlflow.source.type": "LOCAL", "mlflow.source.name": "trainer.data.synthetic"}
        return "code", json.dumps({"tags": {**tags, "seed": str(seed), "size": str(size)}})
    places = [str(Path(root).expanduser() / file) for file in files]
    # JSON writes a character as six at most, or as two of six.
    uri = limits.shortened(", ".join(places), limits.DATASET_SOURCE // 12 - 2)
    return "local", json.dumps({"uri": uri})
