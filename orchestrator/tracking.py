"""MLflow as a projection of the ledger.  The only module that imports mlflow.

What stands here can be thrown away and built again: each trial is one child run found by its
`trial_id` tag, and an epoch is logged unless the run has that step already.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import Ledger, TrialRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Status of a child run; SCHEDULED is a trial that waits to be gone on with.
STATUSES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
#: An epoch's scalars and their metric names; a task's are `train/sst_loss`, `dev/sst_accuracy`.
METRICS = {
    "dev_score": "dev/score",
    "dev_mean": "dev/mean",
    "minutes_per_epoch": "time/minutes_per_epoch",
    "evaluation_minutes": "time/evaluation_minutes",
    "checkpoint_minutes": "time/checkpoint_minutes",
    "setup_minutes": "time/setup_minutes",
    "examples_per_second": "time/examples_per_second",
    "train_loss": "train/loss",
    "updates": "train/updates",
    "examples": "train/examples",
    "conflict_share": "train/conflict_share",
    "peak_memory_mb": "system/peak_memory_mb",
}
#: Logged last in an epoch's batch; a run that has it at a step has the whole epoch.
_MARKER = METRICS["dev_score"]
_MAX_PARAMETER = 6000
_MAX_RUNS = 50_000


def resolve_uri(uri: str, out: str | Path) -> str:
    """A relative sqlite file lies in `out`, so that every command finds it from anywhere."""
    prefix = "sqlite:///"
    if uri.startswith(prefix) and not uri.startswith(prefix + "/"):
        return f"{prefix}{(Path(out).resolve() / uri.removeprefix(prefix))}"
    return uri


@dataclass(frozen=True)
class SweepPicture:
    """What the parent run shows."""

    name: str
    question: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class Projection:
    """One sweep in one tracking database.  Not for use from several threads at once."""

    def __init__(self, uri: str, out: str | Path, picture: SweepPicture):
        self.uri = resolve_uri(uri, out)
        self.picture = picture
        self._artifacts = (Path(out).resolve() / "mlartifacts").as_uri()
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._parent = ""
        self._runs: dict[str, str] = {}
        self._steps: dict[str, set[int]] = {}
        self._status: dict[str, str] = {}
        self._described: set[str] = set()

    def connect(self) -> None:
        """Open the database, making experiment and parent run if they are not there."""
        if self._client is None:
            client = _client(self.uri)
            self._parent, self._steps, self._status, self._described = "", {}, {}, set()
            self._experiment = self._find_experiment(client)
            children = {}
            for run in _all_runs(client, self._experiment):
                tags, info = run.data.tags, run.info
                if tags.get("kind") == "sweep":
                    self._parent = info.run_id
                elif "trial_id" in tags:
                    children[tags["trial_id"]] = info.run_id
                    self._status[tags["trial_id"]] = info.status
                    if run.data.params:
                        self._described.add(tags["trial_id"])
            self._runs = children
            self._client = client
        if not self._parent:
            tags = {"kind": "sweep", "sweep": self.picture.name, **self.picture.tags}
            if self.picture.question:
                tags["mlflow.note.content"] = self.picture.question
            run = self._client.create_run(self._experiment, tags=tags, run_name=self.picture.name)
            self._parent = run.info.run_id

    def trial(self, trial: TrialRecord, *, running: bool) -> None:
        """Bring one trial's run up to its directory; `running` is for those without an end.

        After a failure nobody knows what the database took: the next call reads it again.
        """
        try:
            self._trial(trial, running=running)
        except Exception:
            self._client = None
            raise

    def _trial(self, trial: TrialRecord, *, running: bool) -> None:
        self.connect()
        assert self._client is not None
        name = trial.trial_id
        status = STATUSES.get(trial.status, "RUNNING" if running else "SCHEDULED")
        if name not in self._runs:
            self._create(trial)
        run_id = self._runs[name]
        if name not in self._described:
            self._describe(run_id, trial.train_config.canonical())
            self._described.add(name)
        if name not in self._steps:
            history = self._client.get_metric_history(run_id, _MARKER)
            self._steps[name] = {metric.step for metric in history}
        for record in trial.records:
            if record["epoch"] not in self._steps[name]:
                self._log(run_id, record)
                self._steps[name].add(record["epoch"])
        if self._status.get(name) != status:
            if trial.status in STATUSES:
                self._client.set_tag(run_id, "reason", trial.reason or trial.status)
                end = _committed_ms(trial.records[-1]) if trial.records else None
                self._client.set_terminated(run_id, status, end_time=end)
            else:
                self._client.update_run(run_id, status=status)
            self._status[name] = status

    def parent(self, status: str) -> None:
        """Set the sweep's own run: RUNNING, FINISHED, FAILED or KILLED (interrupted)."""
        self.connect()
        assert self._client is not None
        if status == "RUNNING":
            self._client.update_run(self._parent, status=status)
        else:
            self._client.set_terminated(self._parent, status)

    def _find_experiment(self, client: MlflowClient) -> str:
        found = client.get_experiment_by_name(self.picture.name)
        if found is None:
            local = self.uri.startswith("sqlite:")
            return str(
                client.create_experiment(
                    self.picture.name, artifact_location=self._artifacts if local else None
                )
            )
        if found.lifecycle_stage != "active":
            client.restore_experiment(found.experiment_id)
        return str(found.experiment_id)

    def _create(self, trial: TrialRecord) -> None:
        assert self._client is not None
        config = trial.train_config
        identity = trial.identity
        tags = {
            "mlflow.parentRunId": self._parent,
            "kind": "trial",
            "trial_id": trial.trial_id,
            "config_id": str(identity.get("config_id", "")),
            "fingerprint": str(identity.get("fingerprint", "")),
            "sweep": self.picture.name,
            "method": f"{config.sampler}+{config.combiner}",
            "sampler": config.sampler,
            "seed": str(config.seed),
            "mlflow.source.git.commit": str(identity.get("git_commit", "")),
            "device": str(identity.get("device", "")),
        }
        started = _committed_ms(trial.records[0]) if trial.records else None
        run = self._client.create_run(
            self._experiment, start_time=started, tags=tags, run_name=trial.trial_id
        )
        self._runs[trial.trial_id] = run.info.run_id
        self._status[trial.trial_id] = run.info.status

    def _describe(self, run_id: str, canonical: Mapping[str, Any]) -> None:
        """Log the parameters that act: a canonical config holds no others."""
        from mlflow.entities import Param

        assert self._client is not None
        flat = [Param(key, str(value)[:_MAX_PARAMETER]) for key, value in _flat(canonical).items()]
        for start in range(0, len(flat), 100):  # the limit of one call
            self._client.log_batch(run_id, params=flat[start : start + 100])

    def _log(self, run_id: str, record: Mapping[str, Any]) -> None:
        from mlflow.entities import Metric

        assert self._client is not None
        at, step = _committed_ms(record), record["epoch"]
        values = epoch_metrics(record)
        ordered = [key for key in values if key != _MARKER] + [_MARKER]
        batch = [Metric(key, values[key], at, step) for key in ordered if key in values]
        for start in range(0, len(batch), 1000):  # the limit of one call
            self._client.log_batch(run_id, metrics=batch[start : start + 1000])


def epoch_metrics(record: Mapping[str, Any]) -> dict[str, float]:
    """An epoch's record as MLflow metrics."""
    found: dict[str, Any] = {name: record.get(key) for key, name in METRICS.items()}
    for task, values in record.get("tasks", {}).items():
        metric = values.get("metric", "metric")
        found[f"dev/{task}_{metric}"] = values.get("dev_metric")
        found[f"dev/{task}_loss"] = values.get("dev_loss")
        found[f"train/{task}_{metric}"] = values.get("train_metric")
        found[f"train/{task}_loss"] = values.get("train_loss")
        found[f"train/{task}_examples"] = values.get("examples")
    for pair, cosine in record.get("cosines", {}).items():
        found[f"train/cosine_{pair.replace('|', '_')}"] = cosine
    return {k: float(v) for k, v in found.items() if isinstance(v, int | float)}


def sync(uri: str, out: str | Path, picture: SweepPicture) -> int:
    """Project a whole sweep now; returns its number of trials.  Raises what MLflow raises."""
    ledger = Ledger(out, picture.name)
    trials = ledger.trials()
    states = {trial.status for trial in trials}
    status = "KILLED" if "unfinished" in states else "FAILED" if "failed" in states else "FINISHED"
    names = [trial.trial_id for trial in trials]
    project_all(Projection(uri, out, picture), ledger, names, status)
    return len(trials)


def project_all(
    projection: Projection, ledger: Ledger, trial_ids: Iterable[str], status: str
) -> None:
    """Project these trials, then the sweep's own run with `status`."""
    for trial_id in trial_ids:
        trial = ledger.trial(trial_id)
        if trial is not None:
            projection.trial(trial, running=False)
    projection.parent(status)


def _client(uri: str) -> MlflowClient:
    """A client that asks few times and soon gives up, and does not report its use to anybody."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)
    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    from mlflow import MlflowClient

    logging.getLogger("mlflow").setLevel(logging.ERROR)
    if uri.startswith("sqlite:///"):
        Path(uri.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(tracking_uri=uri)


def _all_runs(client: MlflowClient, experiment: str) -> list[Any]:
    runs: list[Any] = []
    token = None
    while len(runs) < _MAX_RUNS:
        page = client.search_runs([experiment], max_results=1000, page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return runs


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, Mapping) and inner:
            flat |= _flat(inner, f"{prefix}{key}.")
        else:
            flat[prefix + key] = inner
    return flat


def _committed_ms(record: Mapping[str, Any]) -> int:
    """When an epoch was committed, as MLflow counts; now for a record that does not say."""
    text = record.get("finished_at")
    return int((datetime.fromisoformat(text).timestamp() if text else time.time()) * 1000)
