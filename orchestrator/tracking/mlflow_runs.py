"""The runs of one sweep in a tracking database, and how a trial's run is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import TrialRecord
from orchestrator.tracking import mlflow_views, trial_run
from orchestrator.tracking.database import all_runs, open_experiment
from orchestrator.tracking.sweep_run import SweepDescription

if TYPE_CHECKING:
    from mlflow import MlflowClient

#: Status of a child run; SCHEDULED is a trial that waits to be gone on with.
STATUSES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}

_MAX_NAME = 250


@dataclass
class TrialRun:
    """What the database is known to have of a trial.

    Attributes:
        described: it has the trial's parameters.
        steps: the epochs whose metrics it has; None until it was asked.
        told: the tags that change.
    """

    run_id: str
    status: str
    described: bool = False
    steps: set[int] | None = None
    told: dict[str, str] = field(default_factory=dict)


class MlflowRuns:
    """A sweep's experiment, its own run and its trials' runs; made here if they are not there.

    Args:
        artifacts: where the experiment's artifacts go; None leaves it to the server.

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
        # Of two for one trial the one stays that has more.
        for run in sorted(runs, key=lambda r: (not _ended(r), not r.data.params)):
            tags, info = run.data.tags, run.info
            if "trial_id" in tags and tags.get("mlflow.parentRunId") == self.parent:
                name = tags["trial_id"]
                if name in self.trials:
                    client.delete_run(info.run_id)  # asked for twice; one answer was lost
                    continue
                self.trials[name] = TrialRun(info.run_id, info.status, bool(run.data.params))

    def tag_experiment(self) -> None:
        """What MLflow's page shows without set-up; a view that somebody changed is made anew."""
        for key, value in mlflow_views.experiment_tags(self._sweep).items():
            if value and self._experiment_tags.get(key) != value:
                self.client.set_experiment_tag(self.experiment, key, value)
                self._experiment_tags[key] = value

    def draw(self, trial: TrialRecord, *, running: bool) -> None:
        """One trial's run: what it lacks in as few calls as MLflow allows, its status last."""
        from mlflow.entities import Param, RunTag

        if trial.trial_id not in self.trials:
            self._create(trial)
        run = self.trials[trial.trial_id]
        params = []
        if not run.described:
            self.client.log_inputs(run.run_id, trial_run.datasets(trial))
            values = trial_run.params(trial.train_config)
            params = [Param(key, value) for key, value in values.items()]
        if run.steps is None:
            history = self.client.get_metric_history(run.run_id, trial_run.MARKER)
            run.steps = {metric.step for metric in history}
        missing = [record for record in trial.records if record["epoch"] not in run.steps]
        metrics = [metric for record in missing for metric in trial_run.metrics(record)]
        told = trial_run.told(trial)
        tags = [RunTag(key, value) for key, value in told.items() if run.told.get(key) != value]
        for batch in _batches(metrics, params, tags):
            self.client.log_batch(run.run_id, **batch)
        run.told, run.described = told, True
        run.steps.update(record["epoch"] for record in missing)
        status = STATUSES.get(trial.status, "RUNNING" if running else "SCHEDULED")
        if run.status != status:
            if trial.status in STATUSES:
                end = trial_run.committed_ms(trial.records[-1]) if trial.records else None
                self.client.set_terminated(run.run_id, status, end_time=end)
            else:
                self.client.update_run(run.run_id, status=status)
            run.status = status

    def _create(self, trial: TrialRecord) -> None:
        told = trial_run.told(trial)
        tags = trial_run.tags(trial, self._sweep.name, self._sweep.varied) | told
        run = self.client.create_run(
            self.experiment,
            start_time=trial_run.committed_ms(trial.records[0]) if trial.records else None,
            tags={"mlflow.parentRunId": self.parent, **tags},
            run_name=_shortened(f"{tags['configuration']} · seed {tags['seed']}"),
        )
        self.trials[trial.trial_id] = TrialRun(
            run.info.run_id, run.info.status, steps=set(), told=told
        )

    def _find_parent(self, runs: Sequence[Any]) -> str:
        """The run of this very sweep; `--fresh` leaves the earlier one of the name alone."""
        sweep_id = self._sweep.sweep_id
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
                    self.client.delete_run(run_id)
            return kept
        tags = {"kind": "sweep", "sweep": self._sweep.name, "sweep_id": sweep_id}
        tags |= {"mlflow.source.name": f"orch sweep ({self._sweep.name})"}
        tags |= {"mlflow.source.type": "LOCAL", **self._sweep.tags}
        if self._sweep.question:
            tags["mlflow.note.content"] = self._sweep.question
        created = self.client.create_run(self.experiment, tags=tags, run_name=self._sweep.name)
        return str(created.info.run_id)


def _batches(
    metrics: list[Any], params: list[Any], tags: list[Any]
) -> Iterator[dict[str, list[Any]]]:
    """Split to the limits of one call: 100 parameters, 1000 entries of all kinds."""
    while metrics or params or tags:
        yield {"metrics": metrics[:800], "params": params[:100], "tags": tags}
        metrics, params, tags = metrics[800:], params[100:], []


def _shortened(name: str) -> str:
    """As much of a run's name as all of MLflow's databases take; a tag has the whole."""
    return name if len(name) <= _MAX_NAME else f"{name[: _MAX_NAME - 1]}…"


def _ended(run: Any) -> bool:
    return run.info.status in STATUSES.values()
