"""One sweep in one tracking database, drawn from its ledger."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from orchestrator.database_urls import expanded, resolve_uri, without_password
from orchestrator.ledger import RESOLVED, Ledger
from orchestrator.ledger.timing_sessions import FOLDER as TIMINGS
from orchestrator.tracking import best_model, sweep_run
from orchestrator.tracking.database import connect, is_server
from orchestrator.tracking.mlflow_runs import STATUSES, MlflowRuns, TrialRun
from orchestrator.tracking.sweep_run import SweepArtifacts, SweepDescription
from trainer.storage.folder import StoreError

logger = logging.getLogger(__name__)

#: Tag of the state in which a whole sweep was shown last.
_STATE = "shown_state"
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
        self._runs: MlflowRuns | None = None
        #: A call has failed; its database may have taken it, or still take it.
        self._doubtful = False
        #: How often something could not be made.
        self._said = 0
        self.drawn = 0

    def begin(self) -> None:
        """The sweep's own run is there and RUNNING."""
        with self._read_again_after_failure():
            runs = self._connect()
            runs.client.update_run(runs.parent, status="RUNNING")

    def update(self, trial_ids: Iterable[str]) -> None:
        """Bring the runs of these trials up to their directories."""
        self._project(trial_ids, running=True)

    def finish(self, status: str, trial_ids: Iterable[str]) -> None:
        """Bring all of them up and end the sweep's own run; unfinished trials are SCHEDULED."""
        self._project(trial_ids, running=False)
        with self._read_again_after_failure():
            runs = self._connect()
            runs.client.set_terminated(runs.parent, status)
            if self._doubtful:  # what was sent to a server that hung may have come through by now
                self._runs = None
                self._connect()
            if self._patient or status != "KILLED":
                self._show_sweep()

    def _project(self, trial_ids: Iterable[str], *, running: bool) -> None:
        with self._read_again_after_failure():
            runs = self._connect()
            for trial_id in trial_ids:
                if trial_id in runs.trials and self._is_drawn(trial_id, runs.trials[trial_id]):
                    continue
                trial = self.ledger.trial(trial_id)
                if trial is not None:
                    runs.draw(trial, running=running)
                self.drawn += 1

    def _is_drawn(self, trial_id: str, run: TrialRun) -> bool:
        """Its status is set last, and no trial changes behind its end; but a failed one may have
        lost its end, to be tried again."""
        if run.status not in STATUSES.values() or run.status == STATUSES["complete"]:
            return run.status == STATUSES["complete"]
        end = self.ledger.end(trial_id)
        return end is not None and STATUSES[end["status"]] == run.status

    def _show_sweep(self) -> None:
        """Answer, tables, figures, and the best model in the registry."""
        if self._exhibits is None:
            return
        runs = self._connect()
        client = runs.client
        state, said = self._state(runs), self._said
        if not self._patient and client.get_run(runs.parent).data.tags.get(_STATE) == state:
            return  # the same sweep was run again, and all of it is there
        try:
            made = self._exhibits(self._progress)
        except Exception as error:  # a comparison that cannot be made costs no run
            logger.debug("exhibits", exc_info=error)
            self._tell(f"the comparison is not in {self.name}: {_one_line(error)}")
            return
        if made.problem:
            self._tell(made.problem)
        ids = {trial_id: run.run_id for trial_id, run in runs.trials.items()}
        sweep_run.show(client, runs.parent, ids, self.picture, made, self._progress)
        runs.tag_experiment()
        if self._register and made.best in ids:
            self._register_best(runs, made)
        if self._said == said:  # what could not be made is tried again by the next run
            client.set_tag(runs.parent, _STATE, state)

    def _tell(self, text: str) -> None:
        self._said += 1
        self._say(f"tracking: {text}")

    def _register_best(self, runs: MlflowRuns, made: SweepArtifacts) -> None:
        # A server takes its time with a large one, and the end of a sweep does not wait for it.
        limit = None if self._patient or not is_server(self.uri) else best_model.SMALL_BYTES
        try:
            best = best_model.BestTrial(
                trial_id=made.best,
                label=made.best_label,
                directory=self.ledger.directory(made.best),
                run_id=runs.trials[made.best].run_id,
                experiment=runs.experiment,
                sweep=self.picture,
            )
            best_model.register(runs.client, best, limit, self._progress)
        except (StoreError, ValueError) as error:  # its checkpoint or its tokenizer is gone
            self._tell(f"the best model is not registered: {_one_line(error)}")

    def _state(self, runs: MlflowRuns) -> str:
        """What the sweep's own run is drawn from, told apart cheaply: no trial changes behind its
        end."""
        spec = (self.ledger.folder.read(RESOLVED) or b"").decode(errors="replace")
        statuses = sorted((trial_id, run.status) for trial_id, run in runs.trials.items())
        told = [statuses, self.ledger.folder.child(TIMINGS).names(), spec]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()

    def _progress(self) -> None:
        self.drawn += 1

    @contextlib.contextmanager
    def _read_again_after_failure(self) -> Iterator[None]:
        """Behind a failure nobody knows what the database took: the next call asks it."""
        try:
            yield
        except Exception:
            self._runs, self._doubtful = None, True
            raise

    def _connect(self) -> MlflowRuns:
        """Open the database, making experiment and parent run if they are not there."""
        if self._runs is None:
            client = connect(expanded(self.uri))
            # A database is written to from here, whatever server reads it.
            artifacts = None if is_server(self.uri) else self._artifacts
            self._runs = MlflowRuns(client, self.picture, artifacts)
        return self._runs


def _one_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
