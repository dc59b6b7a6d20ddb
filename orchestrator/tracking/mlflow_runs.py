"""The runs of one sweep in a tracking database, and how a trial's run is updated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import TrialRecord
from orchestrator.tracking import limits, mlflow_views, trial_run
from orchestrator.tracking.database import all_runs, open_experiment
from orchestrator.tracking.sweep_run import NOTE, SweepDescription

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Status of a trial's run after its end; SCHEDULED means that the trial waits to be resumed.
STATUSES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}


@dataclass
class TrialRun:
    """What the database has of a trial, as far as we know.

    Attributes:
        described: it has the trial's parameters.
        steps: the epochs whose metrics it has; None if not known.
        outdated: an older version logged its metrics, so all of them are logged again.
        tags: the tags that change while the trial runs.
    """

    run_id: str
    status: str
    described: bool = False
    steps: set[int] | None = None
    outdated: bool = False
    tags: dict[str, str] = field(default_factory=dict)


class MlflowRuns:
    """A sweep's experiment, its own run and its trials' runs; created if they do not exist.

    Args:
        artifacts: place of the experiment's artifacts; None lets the server decide.

    Attributes:
        parent: id of the sweep's own run.
        trials: the trials' runs by trial id.
    """

    def __init__(self, client: MlflowClient, sweep: SweepDescription, artifacts: str | None):
        self.client = client
        self._sweep = sweep
        experiment = open_experiment(client, sweep.name, artifacts)
        self.experiment = str(experiment.experiment_id)
        self._experiment_tags = dict(experiment.tags)
        self.tag_experiment()
        runs = all_runs(client, self.experiment)
        self.parent = self._find_parent(runs)
        self.trials: dict[str, TrialRun] = {}
        # Of two runs for one trial we keep the one that has more.
        ends = STATUSES.values()
        for run in sorted(runs, key=lambda r: (r.info.status not in ends, not r.data.params)):
            tags, info = run.data.tags, run.info
            if "trial_id" in tags and tags.get("mlflow.parentRunId") == self.parent:
                name = tags["trial_id"]
                if name in self.trials:
                    client.delete_run(info.run_id)  # created twice, because an answer was lost
                    continue
                outdated = trial_run.is_outdated(run.data.metrics)
                self.trials[name] = TrialRun(
                    info.run_id, info.status, bool(run.data.params),
                    steps=set() if outdated else None, outdated=outdated,
                )  # fmt: skip

    def tag_experiment(self, answer: Mapping[str, str] = MappingProxyType({})) -> None:
        """Set the tags that configure MLflow's page; restores a view that somebody changed.

        Args:
            answer: tags that depend on the sweep's answer; without them, it keeps what it has.
        """
        tags = {**mlflow_views.experiment_tags(self._sweep), **answer}
        if NOTE not in self._experiment_tags:
            tags.setdefault(NOTE, self._sweep.question)
        for key, text in tags.items():
            value = limits.shortened(text, limits.EXPERIMENT_TAG)
            if value and self._experiment_tags.get(key) != value:
                self.client.set_experiment_tag(self.experiment, key, value)
                self._experiment_tags[key] = value

    def project(self, trial: TrialRecord, *, running: bool) -> None:
        """Add what a trial's run lacks, in as few calls as MLflow allows; the status comes last."""
        from mlflow.entities import Param, RunTag

        if trial.trial_id not in self.trials:
            self._create(trial)
        run = self.trials[trial.trial_id]
        params = []
        if not run.described:
            self.client.log_inputs(run.run_id, trial_run.datasets(trial))
            values = trial_run.params(trial.train_config, self._sweep)
            params = [Param(key, value) for key, value in values.items()]
        if run.steps is None:
            history = self.client.get_metric_history(run.run_id, trial_run.MARKER)
            run.steps = {metric.step for metric in history}
        known, records = run.steps, trial.records
        missing = [n for n, record in enumerate(records, 1) if record["epoch"] not in known]
        metrics = [metric for n in missing for metric in trial_run.metrics(records[:n])]
        current = trial_run.changing_tags(trial)
        tags = [RunTag(key, value) for key, value in current.items() if run.tags.get(key) != value]
        for batch in _batches(metrics, params, tags):
            self.client.log_batch(run.run_id, **batch)
        run.tags, run.described, run.outdated = current, True, False
        known.update(record["epoch"] for record in records)
        status = STATUSES.get(trial.status, "RUNNING" if running else "SCHEDULED")
        if run.status != status:
            if trial.status in STATUSES:
                end = trial_run.committed_ms(trial.records[-1]) if trial.records else None
                self.client.set_terminated(run.run_id, status, end_time=end)
            else:
                self.client.update_run(run.run_id, status=status)
            run.status = status

    def _create(self, trial: TrialRecord) -> None:
        changing = trial_run.changing_tags(trial)
        tags = trial_run.tags(trial, self._sweep.name, self._sweep.varied) | changing
        name = f"{tags['configuration']} · seed {tags['seed']}"  # a tag has all of it
        run = self.client.create_run(
            self.experiment,
            start_time=trial_run.committed_ms(trial.records[0]) if trial.records else None,
            tags={"mlflow.parentRunId": self.parent, **tags},
            run_name=limits.shortened(name, limits.NAME),
        )
        self.trials[trial.trial_id] = TrialRun(
            run.info.run_id, run.info.status, steps=set(), tags=changing
        )

    def _find_parent(self, runs: Sequence[Any]) -> str:
        """The run of the sweep with this id; an earlier sweep of the same name keeps its own."""
        sweep_id = self._sweep.sweep_id
        candidates = [
            str(run.info.run_id)
            for run in runs
            if run.data.tags.get("kind") == "sweep"
            and run.data.tags.get("sweep_id", "") == sweep_id
        ]
        if candidates:
            parents = {run.data.tags.get("mlflow.parentRunId") for run in runs}
            kept = next((run_id for run_id in candidates if run_id in parents), candidates[0])
            for run_id in candidates:
                if run_id != kept:
                    self.client.delete_run(run_id)
            return kept
        tags = {
            "kind": "sweep", "sweep": self._sweep.name, "sweep_id": sweep_id,
            "mlflow.source.name": f"orch sweep ({self._sweep.name})", "mlflow.source.type": "LOCAL",
        }  # fmt: skip
        if self._sweep.question:
            tags[NOTE] = self._sweep.question
        created = self.client.create_run(self.experiment, tags=tags, run_name=self._sweep.name)
        return str(created.info.run_id)


def _batches(
    metrics: list[Any], params: list[Any], tags: list[Any]
) -> Iterator[dict[str, list[Any]]]:
    """Batches within MLflow's limits: 100 parameters, 1000 entries of all kinds."""
    while metrics or params or tags:
        yield {"metrics": metrics[:800], "params": params[:100], "tags": tags}
        metrics, params, tags = metrics[800:], params[100:], []
