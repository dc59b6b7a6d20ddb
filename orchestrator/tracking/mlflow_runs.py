"""The runs of one sweep in a tracking database, and how a trial's run is updated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.ledger import TrialRecord
from orchestrator.tracking import limits, mlflow_views, trial_run
from orchestrator.tracking.own_runs import (
    KIND,
    PARENT,
    SWEEP_ID,
    OwnRuns,
    is_active,
    open_experiment,
    trial_ids,
)
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
        tags: its tags.
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
        experiment = open_experiment(client, sweep.name, sweep.sweep_id, artifacts)
        self.experiment = str(experiment.experiment_id)
        self._experiment_tags = dict(experiment.tags)
        self.tag_experiment()
        own = OwnRuns(client, self.experiment, sweep.sweep_id)
        self.parent = self._only_parent(own.parents)
        self.trials: dict[str, TrialRun] = {}
        lost: list[Any] = []
        for run in sorted(own.trials, key=_rank):
            names = set(trial_ids(run))
            hangs_here = run.data.tags.get(PARENT) == self.parent
            if not is_active(run) or not hangs_here or len(names) > 1:
                lost.append(run)
            elif not names or not names.isdisjoint(self.trials):
                client.delete_run(run.info.run_id)  # created twice, because an answer was lost
            else:
                self.trials[names.pop()] = _trial_run(run)
        # Taking an experiment out of the trash takes all its runs out.
        again = [run for run in lost if own.is_certain(run) and self._is_shown(run)]
        for run in filter(is_active, [*own.removed, *again]):
            client.delete_run(run.info.run_id)
        #: By trial, runs that are in the trash, hang elsewhere, or whose tags were edited.
        self._lost: dict[str, list[Any]] = {}
        self._taken: set[str] = set()
        for run in lost:
            for name in trial_ids(run):
                self._lost.setdefault(name, []).append(run)

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

        if trial.trial_id not in self.trials and not self._find(trial.trial_id):
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
        changed = self._changed_tags(trial, run)
        tags = [RunTag(key, value) for key, value in changed.items()]
        for batch in _batches(metrics, params, tags):
            self.client.log_batch(run.run_id, **batch)
        run.tags |= changed
        run.described, run.outdated = True, False
        known.update(record["epoch"] for record in records)
        status = STATUSES.get(trial.status, "RUNNING" if running else "SCHEDULED")
        if run.status != status:
            if trial.status in STATUSES:
                end = trial_run.committed_ms(trial.records[-1]) if trial.records else None
                self.client.set_terminated(run.run_id, status, end_time=end)
            else:
                self.client.update_run(run.run_id, status=status)
            run.status = status

    def restore_tags(self, trial: TrialRecord) -> None:
        """Give the run of a trial, which has all else, the tags that somebody changed."""
        from mlflow.entities import RunTag

        run = self.trials[trial.trial_id]
        if changed := self._changed_tags(trial, run):
            tags = [RunTag(key, value) for key, value in changed.items()]
            self.client.log_batch(run.run_id, tags=tags)
            run.tags |= changed

    def _changed_tags(self, trial: TrialRecord, run: TrialRun) -> dict[str, str]:
        """The tags that a run lacks or has with another value; a person's note stays."""
        wanted = self._tags(trial)
        return {
            key: value
            for key, value in wanted.items()
            if run.tags.get(key) != value and not (key == NOTE and NOTE in run.tags)
        }

    def _tags(self, trial: TrialRecord) -> dict[str, str]:
        return {
            PARENT: self.parent,
            SWEEP_ID: self._sweep.sweep_id,
            **trial_run.tags(trial, self._sweep.name, self._sweep.varied),
            **trial_run.changing_tags(trial),
        }

    def _find(self, trial_id: str) -> bool:
        """Take a trial's run from where it is, out of the trash too; returns whether it has one."""
        found = [r for r in self._lost.pop(trial_id, ()) if r.info.run_id not in self._taken]
        if not found:
            return False
        kept, *others = found
        self._taken.add(kept.info.run_id)
        if not is_active(kept):
            self.client.restore_run(kept.info.run_id)
        self.trials[trial_id] = _trial_run(kept)
        for run in filter(is_active, others):
            if self._is_shown(run):
                self.client.delete_run(run.info.run_id)
        return True

    def _is_shown(self, run: Any) -> bool:
        """Whether all trials that a run may be of have a run."""
        return set(trial_ids(run)) <= self.trials.keys()

    def _create(self, trial: TrialRecord) -> None:
        tags = self._tags(trial)
        name = f"{tags['configuration']} · seed {tags['seed']}"  # a tag has all of it
        run = self.client.create_run(
            self.experiment,
            start_time=trial_run.committed_ms(trial.records[0]) if trial.records else None,
            tags=tags,
            run_name=limits.shortened(name, limits.NAME),
        )
        self.trials[trial.trial_id] = TrialRun(
            run.info.run_id, run.info.status, steps=set(), tags=tags
        )

    def _only_parent(self, parents: Sequence[Any]) -> str:
        """The run of the sweep with this id; an earlier sweep of the same name keeps its own."""
        sweep, tags = self._sweep, {KIND: "sweep", "sweep": self._sweep.name}
        tags[SWEEP_ID] = sweep.sweep_id
        if not parents:
            more = {
                "mlflow.source.name": f"orch sweep ({sweep.name})", "mlflow.source.type": "LOCAL",
                **({NOTE: sweep.question} if sweep.question else {}),
            }  # fmt: skip
            created = self.client.create_run(self.experiment, tags=tags | more, run_name=sweep.name)
            return str(created.info.run_id)
        kept, *others = parents
        number = str(kept.info.run_id)
        if not is_active(kept):
            self.client.restore_run(number)
        for key, value in tags.items():
            if kept.data.tags.get(key) != value:
                self.client.set_tag(number, key, value)
        for run in filter(is_active, others):
            self.client.delete_run(run.info.run_id)
        return number


def _rank(run: Any) -> tuple[bool, ...]:
    """Of two runs for one trial we keep the one that has more."""
    return not is_active(run), run.info.status not in STATUSES.values(), not run.data.params


def _trial_run(run: Any) -> TrialRun:
    outdated = trial_run.is_outdated(run.data.metrics)
    return TrialRun(
        run.info.run_id, run.info.status, bool(run.data.params),
        steps=set() if outdated else None, outdated=outdated, tags=dict(run.data.tags),
    )  # fmt: skip


def _batches(
    metrics: list[Any], params: list[Any], tags: list[Any]
) -> Iterator[dict[str, list[Any]]]:
    """Batches within MLflow's limits: 100 parameters, 1000 entries of all kinds."""
    while metrics or params or tags:
        yield {"metrics": metrics[:800], "params": params[:100], "tags": tags}
        metrics, params, tags = metrics[800:], params[100:], []
