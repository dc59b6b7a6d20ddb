"""One sweep in one tracking database, drawn from its ledger."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.database_urls import expanded, resolve_uri, without_password
from orchestrator.ledger import RESOLVED, Ledger, TrialRecord
from orchestrator.ledger.timing_sessions import FOLDER as TIMINGS
from orchestrator.tracking import best_model, mlflow_views, sweep_run, trial_run
from orchestrator.tracking.database import all_runs, connect, is_server, open_experiment
from orchestrator.tracking.sweep_run import SweepArtifacts, SweepDescription
from trainer.storage.folder import StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

_MAX_NAME = 250
#: Tag of the state in which a whole sweep was shown last.
_STATE = "shown_state"
#: Status of a child run; SCHEDULED is a trial that waits to be gone on with.
STATUSES = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}

#: Makes what is worth seeing of the whole sweep; told when to say that it is at work.
Exhibiting = Callable[[Callable[[], None]], SweepArtifacts]


class MlflowProjection:
    """One sweep in one tracking database: a `tracker.Projection`.  For one thread at a time.

    Args:
        exhibits: what the sweep's own run shows; none: nothing but its trials.
        register: whether the best trial's model is registered.
        patient: show the whole sweep even where it was interrupted, and upload models of any
            size.  The end of a sweep does not wait that long, `orch sync` does.
        say: is told why something could not be made; it costs no run.
    """

    def __init__(
        self,
        uri: str,
        out: str | Path,
        picture: SweepDescription,
        ledger: Ledger,
        *,
        exhibits: Exhibiting | None = None,
        register: bool = False,
        patient: bool = False,
        say: Callable[[str], None] = logger.warning,
    ):
        self.uri = resolve_uri(uri, out)
        self.name = f"MLflow at {without_password(self.uri)}"
        self.picture = picture
        self.ledger = ledger
        self._exhibits = exhibits
        self._register = register
        self._patient = patient
        self._say = say
        self._artifacts = (Path(out).resolve() / "mlartifacts").as_uri()
        self._client: MlflowClient | None = None
        self._experiment = ""
        self._experiment_tags: dict[str, str] = {}
        self._parent = ""
        self._runs: dict[str, str] = {}
        self._steps: dict[str, set[int]] = {}
        self._status: dict[str, str] = {}
        self._described: set[str] = set()
        #: The tags that change, as each run has them.
        self._told: dict[str, dict[str, str]] = {}
        #: A call has failed; its database may have taken it, or still take it.
        self._doubtful = False
        #: How often something could not be made.
        self._said = 0
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
            if self._patient or status != "KILLED":
                self._show_sweep()

    def _project(self, trial_ids: Iterable[str], *, running: bool) -> None:
        with self._read_again_after_failure():
            client = self._connect()
            for trial_id in trial_ids:
                if self._is_drawn(trial_id):
                    continue
                trial = self.ledger.trial(trial_id)
                if trial is not None:
                    self._draw(client, trial, running=running)
                self.drawn += 1

    def _is_drawn(self, trial_id: str) -> bool:
        """Its status is set last, and no trial changes behind its end; but a failed one may have
        lost its end, to be tried again."""
        shown = self._status.get(trial_id)
        if shown not in STATUSES.values() or shown == STATUSES["complete"]:
            return shown == STATUSES["complete"]
        end = self.ledger.end(trial_id)
        return end is not None and STATUSES[end["status"]] == shown

    def _show_sweep(self) -> None:
        """Answer, tables, figures, and the best model in the registry."""
        if self._exhibits is None:
            return
        client = self._connect()
        state, said = self._state(), self._said
        if not self._patient and client.get_run(self._parent).data.tags.get(_STATE) == state:
            return  # the same sweep was run again, and all of it is there
        try:
            made = self._exhibits(self._progress)
        except Exception as error:  # a comparison that cannot be made costs no run
            logger.debug("exhibits", exc_info=error)
            self._tell(f"the comparison is not in {self.name}: {_one_line(error)}")
            return
        if made.problem:
            self._tell(made.problem)
        sweep_run.show(client, self._parent, self._runs, self.picture, made, self._progress)
        self._tag_experiment(client)
        run_id = self._runs.get(made.best)
        if self._register and run_id:
            self._register_best(client, made, run_id)
        if self._said == said:  # what could not be made is tried again by the next run
            client.set_tag(self._parent, _STATE, state)

    def _tell(self, text: str) -> None:
        self._said += 1
        self._say(f"tracking: {text}")

    def _register_best(self, client: MlflowClient, made: SweepArtifacts, run_id: str) -> None:
        # A server takes its time with a large one, and the end of a sweep does not wait for it.
        limit = None if self._patient or not is_server(self.uri) else best_model.SMALL_BYTES
        try:
            best_model.register(
                client, self.ledger.directory(made.best), self._experiment, run_id, self.picture,
                made.best, made.best_label, limit, self._progress,
            )  # fmt: skip
        except (StoreError, ValueError) as error:  # its checkpoint or its tokenizer is gone
            self._tell(f"the best model is not registered: {_one_line(error)}")

    def _state(self) -> str:
        """What the sweep's own run is drawn from, told apart cheaply: no trial changes behind its
        end."""
        spec = (self.ledger.folder.read(RESOLVED) or b"").decode(errors="replace")
        told = [sorted(self._status.items()), self.ledger.folder.child(TIMINGS).names(), spec]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _progress(self) -> None:
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
        client = connect(expanded(self.uri))
        # A database is written to from here, whatever server reads it.
        artifacts = None if is_server(self.uri) else self._artifacts
        experiment = open_experiment(client, self.picture.name, artifacts)
        self._experiment = str(experiment.experiment_id)
        self._experiment_tags = dict(experiment.tags)
        self._tag_experiment(client)
        runs = all_runs(client, self._experiment)
        self._parent = self._find_parent(client, runs)
        self._runs, self._steps, self._status, self._described = {}, {}, {}, set()
        self._told = {}
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

    def _tag_experiment(self, client: MlflowClient) -> None:
        """What MLflow's page shows without set-up; a view that somebody changed is made anew."""
        for key, value in mlflow_views.experiment_tags(self.picture).items():
            if value and self._experiment_tags.get(key) != value:
                client.set_experiment_tag(self._experiment, key, value)
                self._experiment_tags[key] = value

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
        tags |= {"mlflow.source.name": f"orch sweep ({self.picture.name})"}
        tags |= {"mlflow.source.type": "LOCAL", **self.picture.tags}
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
        params = []
        if name not in self._described:
            client.log_inputs(run_id, trial_run.datasets(trial))
            values = trial_run.params(trial.train_config)
            params = [Param(key, value) for key, value in values.items()]
        if name not in self._steps:
            history = client.get_metric_history(run_id, trial_run.MARKER)
            self._steps[name] = {metric.step for metric in history}
        missing = [r for r in trial.records if r["epoch"] not in self._steps[name]]
        metrics = [metric for record in missing for metric in trial_run.metrics(record)]
        told, known = trial_run.told(trial), self._told.get(name, {})
        tags = [RunTag(key, value) for key, value in told.items() if known.get(key) != value]
        for batch in _batches(metrics, params, tags):
            client.log_batch(run_id, **batch)
        self._told[name] = told
        self._described.add(name)
        self._steps[name].update(record["epoch"] for record in missing)
        status = STATUSES.get(trial.status, "RUNNING" if running else "SCHEDULED")
        if self._status.get(name) != status:
            if trial.status in STATUSES:
                end = trial_run.committed_ms(trial.records[-1]) if trial.records else None
                client.set_terminated(run_id, status, end_time=end)
            else:
                client.update_run(run_id, status=status)
            self._status[name] = status

    def _create(self, client: MlflowClient, trial: TrialRecord) -> None:
        told = trial_run.told(trial)
        tags = trial_run.tags(trial, self.picture.name, self.picture.varied) | told
        run = client.create_run(
            self._experiment,
            start_time=trial_run.committed_ms(trial.records[0]) if trial.records else None,
            tags={"mlflow.parentRunId": self._parent, **tags},
            run_name=_shortened(f"{tags['configuration']} · seed {tags['seed']}"),
        )
        self._runs[trial.trial_id] = run.info.run_id
        self._told[trial.trial_id] = told
        self._status[trial.trial_id] = run.info.status
        self._steps[trial.trial_id] = set()


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


def _one_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
