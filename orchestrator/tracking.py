"""MLflow as a projection of the ledger.  The only module that imports mlflow.

What stands here can be thrown away and built again: each trial is one child run found by its
`trial_id` tag, and an epoch is logged unless the run has that step already.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.addresses import expanded, resolve_uri, without_password
from orchestrator.ledger import Ledger, TrialRecord
from orchestrator.sqlite_file import make_whole

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


@dataclass(frozen=True)
class SweepPicture:
    """What the parent run shows.  `sweep_id` tells sweeps of one name apart (`--fresh`)."""

    name: str
    question: str = ""
    sweep_id: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


class Projection:
    """One sweep in one tracking database: a `tracker.Picture`.  For one thread at a time."""

    def __init__(self, uri: str, out: str | Path, picture: SweepPicture, ledger: Ledger):
        self.uri = resolve_uri(uri, out)
        self.name = f"MLflow at {without_password(self.uri)}"
        self.picture = picture
        self.ledger = ledger
        self._artifacts = (Path(out).resolve() / "mlartifacts").as_uri()
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._parent = ""
        self._runs: dict[str, str] = {}
        self._steps: dict[str, set[int]] = {}
        self._status: dict[str, str] = {}
        self._described: set[str] = set()
        #: A call has failed; its database may have taken it, or still take it.
        self._doubtful = False
        self.drawn = 0

    def begin(self) -> None:
        """The sweep's own run is there and RUNNING."""
        with self._read_again_after_failure():
            self._connect().update_run(self._parent, status="RUNNING")

    def update(self, trial_ids: Iterable[str]) -> None:
        """Bring the runs of these trials up to their directories."""
        self._project(trial_ids, running=True)

    def finish(self, status: str, trial_ids: Iterable[str]) -> None:
        """Bring all of them up and end the sweep's own run; unfinished trials are SCHEDULED."""
        self._project(trial_ids, running=False)
        with self._read_again_after_failure():
            self._connect().set_terminated(self._parent, status)
            if self._doubtful:  # what was sent to a server that hung may have come through by now
                self._client = None
                self._connect()

    def _project(self, trial_ids: Iterable[str], *, running: bool) -> None:
        with self._read_again_after_failure():
            client = self._connect()
            for trial_id in trial_ids:
                if self._status.get(trial_id) in STATUSES.values():
                    continue  # set last, and no trial changes behind its end
                trial = self.ledger.trial(trial_id)
                if trial is not None:
                    self._draw(client, trial, running=running)
                self.drawn += 1

    @contextlib.contextmanager
    def _read_again_after_failure(self) -> Iterator[None]:
        """Behind a failure nobody knows what the database took: the next call asks it."""
        try:
            yield
        except Exception:
            self._client, self._doubtful = None, True
            raise

    def _connect(self) -> MlflowClient:
        """Open the database, making experiment and parent run if they are not there."""
        if self._client is not None:
            return self._client
        client = _client(expanded(self.uri))
        self._experiment = self._find_experiment(client)
        runs = _all_runs(client, self._experiment)
        self._parent = self._find_parent(client, runs)
        self._runs, self._steps, self._status, self._described = {}, {}, {}, set()
        # Of two for one trial the one stays that has more.
        for run in sorted(runs, key=lambda r: (not _ended(r), not r.data.params)):
            tags, info = run.data.tags, run.info
            if "trial_id" in tags and tags.get("mlflow.parentRunId") == self._parent:
                name = tags["trial_id"]
                if name in self._runs:
                    client.delete_run(info.run_id)  # asked for twice; one answer was lost
                    continue
                self._runs[name] = info.run_id
                self._status[name] = info.status
                if run.data.params:
                    self._described.add(name)
        self._client = client
        return client

    def _find_parent(self, client: MlflowClient, runs: Sequence[Any]) -> str:
        """The run of this very sweep; `--fresh` leaves the earlier one of the name alone."""
        sweep_id = self.picture.sweep_id
        found = [
            str(run.info.run_id)
            for run in runs
            if run.data.tags.get("kind") == "sweep"
            and run.data.tags.get("sweep_id", "") == sweep_id
        ]
        if found:
            named = {run.data.tags.get("mlflow.parentRunId") for run in runs}
            kept = next((run_id for run_id in found if run_id in named), found[0])
            for run_id in found:
                if run_id != kept:
                    client.delete_run(run_id)
            return kept
        tags = {"kind": "sweep", "sweep": self.picture.name, "sweep_id": sweep_id}
        tags |= self.picture.tags
        if self.picture.question:
            tags["mlflow.note.content"] = self.picture.question
        created = client.create_run(self._experiment, tags=tags, run_name=self.picture.name)
        return str(created.info.run_id)

    def _draw(self, client: MlflowClient, trial: TrialRecord, *, running: bool) -> None:
        """One trial's run: what it lacks in as few calls as MLflow allows, its status last."""
        from mlflow.entities import Param, RunTag

        name = trial.trial_id
        if name not in self._runs:
            self._create(client, trial)
        run_id = self._runs[name]
        params, tags = [], []
        if name not in self._described:
            flat = _flat(trial.train_config.canonical())  # holds nothing that does not act
            params = [Param(key, str(value)[:_MAX_PARAMETER]) for key, value in flat.items()]
        if name not in self._steps:
            history = client.get_metric_history(run_id, _MARKER)
            self._steps[name] = {metric.step for metric in history}
        missing = [r for r in trial.records if r["epoch"] not in self._steps[name]]
        metrics = [metric for record in missing for metric in _metrics(record)]
        if trial.status in STATUSES:
            tags = [RunTag("reason", trial.reason or trial.status)]
        for batch in _batches(metrics, params, tags):
            client.log_batch(run_id, **batch)
        self._described.add(name)
        self._steps[name].update(record["epoch"] for record in missing)
        status = STATUSES.get(trial.status, "RUNNING" if running else "SCHEDULED")
        if self._status.get(name) != status:
            if trial.status in STATUSES:
                end = _committed_ms(trial.records[-1]) if trial.records else None
                client.set_terminated(run_id, status, end_time=end)
            else:
                client.update_run(run_id, status=status)
            self._status[name] = status

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

    def _create(self, client: MlflowClient, trial: TrialRecord) -> None:
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
        run = client.create_run(
            self._experiment, start_time=started, tags=tags, run_name=trial.trial_id
        )
        self._runs[trial.trial_id] = run.info.run_id
        self._status[trial.trial_id] = run.info.status
        self._steps[trial.trial_id] = set()


def _metrics(record: Mapping[str, Any]) -> list[Any]:
    """An epoch as MLflow's metrics, the one that says it is whole last."""
    from mlflow.entities import Metric

    at, step = _committed_ms(record), record["epoch"]
    values = epoch_metrics(record)
    ordered = [key for key in values if key != _MARKER] + [_MARKER]
    return [Metric(key, values[key], at, step) for key in ordered if key in values]


def _batches(
    metrics: list[Any], params: list[Any], tags: list[Any]
) -> Iterator[dict[str, list[Any]]]:
    """Split to the limits of one call: 100 parameters, 1000 entries of all kinds."""
    while metrics or params or tags:
        yield {"metrics": metrics[:800], "params": params[:100], "tags": tags}
        metrics, params, tags = metrics[800:], params[100:], []


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


def _client(uri: str) -> MlflowClient:
    """A client that asks few times and soon gives up, and does not report its use to anybody."""
    for name, value in {
        "MLFLOW_DISABLE_TELEMETRY": "true",
        # A request that is sent again by itself may make a second run, and nobody would know.
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
        "PGCONNECT_TIMEOUT": "10",
        "GIT_PYTHON_REFRESH": "quiet",
    }.items():
        os.environ.setdefault(name, value)
    logging.getLogger("alembic").setLevel(logging.ERROR)
    from mlflow import MlflowClient

    # It logs every error of a database with its traceback, and raises it too.
    logging.getLogger("mlflow").setLevel(logging.CRITICAL)
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        make_whole(path, lambda made: MlflowClient(f"sqlite:///{made}").search_experiments())
    if not uri.startswith("http"):
        _knock(uri)
    return MlflowClient(tracking_uri=uri)


def _knock(uri: str) -> None:
    """Raise at once if the database does not open: MLflow tries for two minutes."""
    from sqlalchemy import create_engine
    from sqlalchemy.pool import NullPool

    with create_engine(uri, poolclass=NullPool).connect():
        pass


def _ended(run: Any) -> bool:
    return run.info.status in STATUSES.values()


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
