"""The projection of one sweep to one tracking database."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator

from orchestrator.database_urls import database_file, expanded, resolve_uri, without_password
from orchestrator.errors import first_line
from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.ledger.timing_sessions import FOLDER as TIMINGS
from orchestrator.tracking import best_model, sweep_run
from orchestrator.tracking.database import connect, is_server
from orchestrator.tracking.mlflow_runs import STATUSES, MlflowRuns, TrialRun
from orchestrator.tracking.moved_folder import CopiedSweep, follow, place_of
from orchestrator.tracking.sweep_run import SweepArtifacts, SweepDescription
from trainer.storage.folder import StoreError

logger = logging.getLogger(__name__)

#: Tag of the state in which the whole sweep was last shown.
_STATE = "shown_state"
#: Computes the artifacts of the whole sweep; calls its argument as it makes progress.
MakeArtifacts = Callable[[Callable[[], None]], SweepArtifacts]


class MlflowProjection:
    """One sweep in one tracking database: a `background.Projection`.  For one thread at a time.

    Args:
        artifacts: computes what the sweep's own run shows; None shows the trials only.
        patient: show the whole sweep even if it was interrupted, and upload models of any size.
            `orch sync` is patient, the end of a sweep is not.
        say: shows a message to the user about a part that cannot be shown.
    """

    def __init__(
        self,
        uri: str,
        description: SweepDescription,
        ledger: Ledger,
        *,
        artifacts: MakeArtifacts | None = None,
        patient: bool = False,
        say: Callable[[str], None] = logger.warning,
    ):
        self.uri = resolve_uri(uri, ledger.local_out)
        self.name = f"MLflow at {without_password(self.uri)}"
        self.is_local = database_file(self.uri) is not None
        self.description = description
        self.ledger = ledger
        self._make_artifacts = artifacts
        self._patient = patient
        self._say = say
        self._runs: MlflowRuns | None = None
        #: A call has failed, but the database may still have carried it out.
        self._doubtful = False
        self._problems = 0
        #: Why nothing is written where the sweep's artifacts are.
        self._is_copy = ""
        self.projected = 0

    def begin(self) -> None:
        """Create the sweep's own run and set it to RUNNING."""
        with self._read_again_after_failure():
            runs = self._connect()
            runs.client.update_run(runs.parent, status="RUNNING")

    def update(self, trial_ids: Iterable[str]) -> None:
        """Bring the runs of these trials up to their directories."""
        self._project(trial_ids, running=True)

    def finish(self, status: str, trial_ids: Iterable[str]) -> None:
        """Update all trials' runs and end the sweep's own run; unfinished trials are SCHEDULED."""
        self._project(trial_ids, running=False)
        with self._read_again_after_failure():
            runs = self._connect()
            runs.client.set_terminated(runs.parent, status)
            if self._doubtful:  # a server that hung may have carried out earlier requests by now
                self._runs = None
                self._connect()
            if self._patient or status != "KILLED":
                self._show_sweep()

    def _project(self, trial_ids: Iterable[str], *, running: bool) -> None:
        with self._read_again_after_failure():
            runs = self._connect()
            for trial_id in trial_ids:
                run = runs.trials.get(trial_id)
                whole = run is not None and self._is_projected(trial_id, run)
                if whole and not self._patient:
                    continue
                trial = self.ledger.trial(trial_id)
                if trial is not None and whole:
                    runs.restore_tags(trial)
                elif trial is not None:
                    runs.project(trial, running=running)
                self.projected += 1

    def _is_projected(self, trial_id: str, run: TrialRun) -> bool:
        """Whether the run is complete: its status is set last, and a trial never changes after its
        end.  But the end of a failed trial may have been deleted, so that it runs again."""
        if run.outdated:
            return False
        if run.status not in STATUSES.values() or run.status == STATUSES["complete"]:
            return run.status == STATUSES["complete"]
        end = self.ledger.end(trial_id)
        return end is not None and STATUSES[end["status"]] == run.status

    def _show_sweep(self) -> None:
        """Show answer, tables and figures, and register the best model."""
        if self._make_artifacts is None:
            return
        runs = self._connect()
        if self._is_copy:
            self._report(f"the comparison is not in {self.name}: {self._is_copy}")
            return
        client = runs.client
        state, problems = self._state(runs), self._problems
        if not self._patient and client.get_run(runs.parent).data.tags.get(_STATE) == state:
            return  # the same sweep was run again, and all of it is there
        try:
            artifacts = self._make_artifacts(self._progress)
        except Exception as error:  # without a comparison the runs are still useful
            logger.debug("artifacts", exc_info=error)
            self._report(f"the comparison is not in {self.name}: {first_line(error)}")
            return
        if artifacts.problem:
            self._report(artifacts.problem)
        ids = {trial_id: run.run_id for trial_id, run in runs.trials.items()}
        sweep_run.show(client, runs.parent, ids, artifacts, self._progress)
        runs.tag_experiment(sweep_run.experiment_tags(artifacts))
        if artifacts.register and artifacts.best in ids:
            self._register_best(runs, artifacts)
        if self._problems == problems:  # otherwise the next run tries again
            client.set_tag(runs.parent, _STATE, state)

    def _report(self, problem: str) -> None:
        self._problems += 1
        self._say(f"tracking: {problem}")

    def _register_best(self, runs: MlflowRuns, artifacts: SweepArtifacts) -> None:
        # The upload of a large model to a server takes too long for the end of a sweep.
        limit = None if self._patient or not is_server(self.uri) else best_model.SMALL_BYTES
        try:
            best = best_model.BestTrial(
                trial_id=artifacts.best,
                label=artifacts.best_label,
                directory=self.ledger.directory(artifacts.best),
                run_id=runs.trials[artifacts.best].run_id,
                experiment=runs.experiment,
                sweep=self.description,
            )
            best_model.register(runs.client, best, limit, self._progress)
        except (StoreError, ValueError) as error:  # its checkpoint or its tokenizer is gone
            self._report(f"the best model is not registered: {first_line(error)}")

    def _state(self, runs: MlflowRuns) -> str:
        """A hash of everything that the sweep's own run depends on; a trial never changes after
        its end."""
        spec = (self.ledger.folder.read(RESOLVED) or b"").decode(errors="replace")
        statuses = sorted((trial_id, run.status) for trial_id, run in runs.trials.items())
        state = [statuses, self.ledger.folder.child(TIMINGS).names(), spec]
        return hashlib.sha256(json.dumps(state).encode()).hexdigest()

    def _progress(self) -> None:
        self.projected += 1

    @contextlib.contextmanager
    def _read_again_after_failure(self) -> Iterator[None]:
        """After a failure, nobody knows what the database has; the next call reads it again."""
        try:
            yield
        except Exception:  # of any kind; it is raised again
            self._runs, self._doubtful = None, True
            raise

    def _connect(self) -> MlflowRuns:
        """Open the database; creates the experiment and the sweep's run if they do not exist."""
        if self._runs is None:
            client = connect(expanded(self.uri))
            place = None
            if not is_server(self.uri):
                place = place_of(self.ledger)
                self._follow()
            self._runs = MlflowRuns(client, self.description, place)
        return self._runs

    def _follow(self) -> None:
        """Let the places of artifacts follow a folder that was moved."""
        self._is_copy = ""
        try:
            follow(expanded(self.uri), self.ledger)
        except CopiedSweep as problem:  # its runs are useful, but the original's files stay
            self._is_copy = str(problem)
